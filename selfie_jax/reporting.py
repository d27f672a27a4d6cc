"""What a run tells: log lines, TensorBoard, the history, results.json."""

from collections.abc import Iterator
import contextlib
import importlib.metadata
import json
import logging
import platform
import sys
import time
from typing import Any

from clu import metric_writers
from etils import epath
import jax
from matplotlib import figure as mpl_figure
import ml_collections
import tqdm
from tqdm.contrib import logging as tqdm_logging

from selfie_jax import visualize

logger = logging.getLogger(__name__)


class Reporter:
  """Gathers the metrics of a run and shows them; a context manager.

  Attributes:
    history: rows {'step', 'part', metric: value, ...} in the order made;
      'part' is 'train', 'validation' or 'test'.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: epath.Path,
    num_devices: int,
  ):
    self.history: list[dict[str, Any]] = []
    self._window: list[dict[str, Any]] = []  # metrics of steps since a row
    self._config = config
    self._num_devices = num_devices
    self._writer = metric_writers.AsyncWriter(
      metric_writers.SummaryWriter(str(workdir))
    )
    self._created = self._clock = time.perf_counter()
    self._steps, self._seconds = 0, 0.0  # since a row, for the rate
    self._all_steps, self._all_seconds = 0, 0.0

  def __enter__(self) -> 'Reporter':
    return self

  def __exit__(self, *exception) -> None:
    self._writer.close()

  @property
  def progress(self) -> dict[str, Any]:
    """All that a checkpoint keeps of this object, as JSON."""
    self._window = _fetch(self._window)
    # Copies, for they are written in the background while the run goes on.
    return {'history': list(self.history), 'window': list(self._window)}

  def restore(self, progress: dict[str, Any]) -> None:
    """Goes on from what `progress` was when a checkpoint was saved."""
    self.history = progress['history']
    self._window = progress['window']

  @contextlib.contextmanager
  def bar(self, first_step: int) -> Iterator[tqdm.tqdm]:
    """A progress bar where there is a terminal, log lines above it."""
    loggers = [logging.getLogger('selfie_jax')]
    with tqdm.tqdm(
      total=self._config.total_steps,
      initial=first_step,
      unit='step',
      dynamic_ncols=True,
      disable=not sys.stderr.isatty(),
    ) as bar:
      if bar.disable:
        yield bar
      else:
        with tqdm_logging.logging_redirect_tqdm(loggers):
          yield bar

  def start_clock(self) -> None:
    """Time counts from here; steps before it leave the rate alone."""
    self._clock = time.perf_counter()
    self._steps = 0

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Keeps evaluation and saving out of the rate of training."""
    self._seconds += time.perf_counter() - self._clock
    yield
    self._clock = time.perf_counter()

  def step(self, metrics: dict[str, jax.Array]) -> None:
    """Takes the metrics of a training step, without waiting for them."""
    self._window.append(metrics)
    self._steps += 1

  def train_row(self, step: int) -> None:
    """Makes a row of the means over the steps since the last such row."""
    rows = _fetch(self._window)
    self._window = []
    with self.pause():
      self.row(
        step,
        'train',
        {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]},
        **self._rate(),
      )

  def row(
    self, step: int, part: str, values: dict[str, float], **timing: float
  ) -> None:
    """Adds a row to the history and shows it, the latter with `timing`."""
    values = {name: values[name] for name in sorted(values, key=_place)}
    self.history.append({'step': step, 'part': part} | values)
    self._writer.write_scalars(
      step,
      {f'{part}/{name}': value for name, value in (values | timing).items()},
    )
    logger.info('step %d %s: %s', step, part, _line(values | timing))

  def _rate(self) -> dict[str, float]:
    """Images per second and device since the last row, compilation aside."""
    steps, seconds = self._steps, self._seconds
    self._steps, self._seconds = 0, 0.0
    if not steps:
      return {}
    self._all_steps += steps
    self._all_seconds += seconds
    return {
      'images_per_second_per_device': steps
      * self._config.batch_size
      / seconds
      / self._num_devices
    }

  def finish(
    self,
    metrics: dict[str, Any],
    figures: dict[str, mpl_figure.Figure],
    workdir: epath.Path,
  ) -> dict[str, Any]:
    """Writes figures/ and results.json and returns what is in the latter."""
    config, device = self._config, jax.local_devices()[0]
    folder = workdir / 'figures'
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
      with (folder / f'{name}.png').open('wb') as file:
        figure.savefig(file, format='png')
    self._writer.write_images(
      config.total_steps,
      {
        name: visualize.pixels(figure)[None] for name, figure in figures.items()
      },
    )

    seconds = self._all_seconds
    results = {
      'mode': config.mode,
      'dataset': config.dataset.name,
      'step': config.total_steps,
      'total_steps': config.total_steps,
      'seed': config.seed,
      'label_fraction': config.label_fraction,
      'initialised_from': (config.mode == 'finetune' and config.init_from)
      or None,
      'metrics': metrics,
      'images_per_second': (
        self._all_steps * config.batch_size / seconds if seconds else None
      ),
      'wall_seconds': time.perf_counter() - self._created,
      'devices': {
        'platform': device.platform,
        'kind': device.device_kind,
        'count': self._num_devices,
      },
      'versions': {'python': platform.python_version()}
      | {
        name: importlib.metadata.version(name)
        for name in ('jax', 'jaxlib', 'flax', 'optax')
      },
    }
    # A reader sees the whole file or none.
    temporary = workdir / 'results.json.tmp'
    temporary.write_text(json.dumps(results, indent=2) + '\n')
    temporary.replace(workdir / 'results.json')
    logger.info('Finished: %s', _line(metrics))
    logger.info('Results: %s  Pictures: %s', workdir / 'results.json', folder)
    return results


def _fetch(window) -> list[dict[str, float]]:
  return [
    {name: float(value) for name, value in row.items()}
    for row in jax.device_get(window)
  ]


def _place(name: str) -> tuple[int, str]:
  """Sorts what is looked at first to the front."""
  first = ('loss', 'accuracy', 'patch_accuracy', 'chance')
  return first.index(name) if name in first else len(first), name


def _line(values: dict[str, float | None]) -> str:
  return '  '.join(
    f'{name} {value:.4g}' for name, value in values.items() if value is not None
  )

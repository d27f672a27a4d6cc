"""What a run reports while it goes on: log, TensorBoard, history.json."""

from collections.abc import Iterator
import contextlib
import logging
import math
import time
from typing import Any

from etils import epath
import jax
import ml_collections
import numpy as np
import tqdm
from tqdm.contrib import logging as tqdm_logging

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import metric_writers
from selfie_jax.training import utilisation

logger = logging.getLogger(__name__)


class NonFinite(Exception):
  """Says at which step which number went wrong."""


class Reporter:
  """Collects the metrics of a run and shows them; a context manager.

  Attributes:
    history: rows {'step', 'part', metric: value, ...} in the order made;
      'part' is 'train', 'validation' or 'test'.
    meter: of the time that the devices wait.
  """

  def __init__(self, config: ml_collections.ConfigDict, workdir: epath.Path):
    self.history: list[dict[str, Any]] = []
    self._window: list[dict[str, Any]] = []  # metrics of steps since a row
    self._config, self._workdir = config, workdir
    self.meter = utilisation.Meter()
    self._writer = metric_writers.Writer(workdir, not distributed.is_primary())
    self._created = self._clock = time.perf_counter()
    self._steps, self._seconds = 0, 0.0  # since a row, for the rate
    # Of the run, over all processes that led to its present state.
    self._all_steps, self._all_seconds, self._wall_before = 0, 0.0, 0.0

  def __enter__(self) -> 'Reporter':
    return self

  def __exit__(self, kind, *exception) -> None:
    try:
      with workdir_lib.writing(self._workdir):
        self._writer.close()
    except errors.UserError:
      if kind is None:  # else that error says more
        raise

  @property
  def progress(self) -> dict[str, Any]:
    """All that a checkpoint keeps of this object, as JSON.

    Raises:
      NonFinite: the last steps must not be kept.
    """
    self._fetch_window()
    # Copies, for they are written in the background while the run goes on.
    return {
      'history': list(self.history),
      'window': list(self._window),
      'timing': {
        'steps': self._all_steps,
        'seconds': self._all_seconds,
        'wall_seconds': self.wall_seconds,
      },
    }

  def restore(self, progress: dict[str, Any]) -> None:
    """Goes on from what `progress` was when a checkpoint was saved."""
    self.history = progress['history']
    self._window = progress['window']
    timing = progress['timing']
    self._all_steps, self._all_seconds = timing['steps'], timing['seconds']
    self._wall_before = timing['wall_seconds']

  @property
  def wall_seconds(self) -> float:
    """Of all processes that led to the present state."""
    return self._wall_before + time.perf_counter() - self._created

  @property
  def images_per_second(self) -> float | None:
    """Likewise, without compilation, evaluation and saving."""
    if not self._all_seconds:
      return None
    return self._all_steps * self._config.batch_size / self._all_seconds

  @contextlib.contextmanager
  def bar(self, first_step: int) -> Iterator[tqdm.tqdm]:
    """A progress bar where there is a terminal, log lines above it."""
    loggers = [logging.getLogger('selfie_jax')]
    with tqdm.tqdm(
      total=self._config.total_steps,
      initial=first_step,
      unit='step',
      dynamic_ncols=True,
      disable=None if distributed.is_primary() else True,
    ) as bar:
      if bar.disable:
        yield bar
      else:
        with tqdm_logging.logging_redirect_tqdm(loggers):
          yield bar

  def start_clock(self, flops: float | None = None) -> None:
    """Time counts from here; the step before it had so many FLOPs."""
    self._clock = time.perf_counter()
    self.meter.start(flops)
    self._steps = 0
    self._writer.open()

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Keeps evaluation and saving out of the rate of training."""
    self._seconds += time.perf_counter() - self._clock
    yield
    self._clock = time.perf_counter()

  def step(self, step: int, metrics: dict[str, jax.Array]) -> None:
    """Takes the metrics of a training step, without waiting for them."""
    self._window.append({'step': step} | metrics)
    self._steps += 1

  def train_row(self, step: int) -> None:
    """Makes a row of the means over the steps since the last such row.

    Raises:
      NonFinite: a loss or a gradient of them is not finite.
    """
    self._fetch_window()
    rows, self._window = self._window, []
    values = {
      name: sum(row[name] for row in rows) / len(rows)
      for name in rows[0]
      if name != 'step'
    }
    with self.pause():
      self.row(step, 'train', values, **self._rate())

  def row(
    self, step: int, part: str, values: dict[str, float], **timing: float
  ) -> None:
    """Adds a row to the history and shows it, the latter with `timing`.

    The log's record has the row of the history as its attribute `row`. With
    an evaluation history.json is written anew, to be read meanwhile.

    Raises:
      NonFinite: a value is not finite.
    """
    values = {name: values[name] for name in sorted(values, key=_place)}
    for name, value in values.items():
      if not math.isfinite(value):
        raise NonFinite(
          f'{part} {name} ({value:.4g}) is not finite at step {step}'
        )
    self.history.append({'step': step, 'part': part} | values)
    logger.info(
      'step %d %s: %s',
      step,
      part,
      line(values | timing),
      extra={'row': self.history[-1]},
    )
    scalars = {f'{part}/{k}': value for k, value in (values | timing).items()}
    with workdir_lib.writing(self._workdir):
      self._writer.write_scalars(step, scalars)
      if part != 'train':
        self.write_history()

  def rows(self, part: str) -> dict[int, dict[str, float]]:
    """The history of one part of the data: values by step."""
    return {
      row['step']: {k: v for k, v in row.items() if k not in ('step', 'part')}
      for row in self.history
      if row['part'] == part
    }

  def write_figures(self, figures: dict[str, Any]) -> None:
    """Shows matplotlib's figures in TensorBoard, by name."""
    from selfie_jax import figures as figures_lib  # loads matplotlib

    images = {
      name: figures_lib.pixels(figure)[None] for name, figure in figures.items()
    }
    with workdir_lib.writing(self._workdir):
      self._writer.write_images(self._config.total_steps, images)

  def _fetch_window(self) -> None:
    """Waits for the metrics of the window's steps and looks at them."""
    self._window = [
      {name: np.asarray(value).item() for name, value in row.items()}
      for row in jax.device_get(self._window)
    ]
    for row in self._window:
      if not (
        math.isfinite(row['loss']) and math.isfinite(row['gradient_norm'])
      ):
        raise NonFinite(
          f'the loss ({row["loss"]:.4g}) or its gradient (norm '
          f'{row["gradient_norm"]:.4g}) is not finite at step {row["step"]}, '
          f'where the learning rate was {row["learning_rate"]:.4g}'
        )

  def _rate(self) -> dict[str, float]:
    """Images per second and device since the last row, compilation aside."""
    steps, seconds = self._steps, self._seconds
    self._steps, self._seconds = 0, 0.0
    if not steps:
      return {}
    self._all_steps += steps
    self._all_seconds += seconds
    rate = steps * self._config.batch_size / seconds / jax.device_count()
    shares = self.meter.rates(steps, seconds)
    return {'images_per_second_per_device': rate} | shares

  def write_history(self) -> None:
    if distributed.is_primary():
      path = self._workdir / 'history.json'
      workdir_lib.write_json(path, self.history, indent=None)


def _place(name: str) -> tuple[int, str]:
  """Sorts what is looked at first to the front."""
  first = ('loss', 'accuracy', 'patch_accuracy', 'chance')
  return first.index(name) if name in first else len(first), name


def line(values: dict[str, float | None]) -> str:
  return '  '.join(
    f'{name} {value:.4g}' for name, value in values.items() if value is not None
  )

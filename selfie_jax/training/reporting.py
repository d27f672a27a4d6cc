"""What a run reports while it trains: log, TensorBoard, history.json."""

from collections.abc import Iterator
from concurrent import futures
import contextlib
import logging
import math
import sys
import types
from typing import Any

from etils import epath
import jax
import ml_collections
import numpy as np
import tqdm
from tqdm.contrib import logging as tqdm_logging

from selfie_jax import cache
from selfie_jax import data
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import throughput

logger = logging.getLogger(__name__)

FIRST = ('loss', 'accuracy', 'patch_accuracy', 'chance')  # in a row, in order
TRACE_AFTER = 10  # steps from a start to the first that is traced
_KERAS_CALLBACK = 'tensorboard.plugins.hparams._keras'


class Reporter:
  """Collects the metrics of a run and shows them; a context manager.

  Attributes:
    history: rows {'step', 'part', metric: value, ...} in the order made; 'part'
      is a split ('train', 'validation', 'test') or an evaluator's name ('knn').
    identity: of the run, saved with each checkpoint and the results.
  """

  def __init__(self, config: ml_collections.ConfigDict, workdir: epath.Path):
    self._config, self._workdir = config, workdir
    self.history: list[dict[str, Any]] = []
    self.identity: identity_lib.Identity = {}
    self.throughput = throughput.Throughput(config.batch_size)
    self._window: list[dict[str, Any]] = []  # metrics of steps since a row
    self._writer: futures.Future | None = None
    self._bar: tqdm.tqdm | None = None
    self._trace_after = 0  # this step
    self._trace = contextlib.ExitStack()  # ends with the steps at the latest

  def __enter__(self) -> 'Reporter':
    return self

  def __exit__(self, kind, *exception) -> None:
    try:
      with workdir_lib.writing(self._workdir):
        # Why it could not be opened has been said by the first write.
        if self._writer and not self._writer.exception():
          self._writer.result().close()
    except errors.UserError:
      if kind is None:  # else that error says more
        raise

  @property
  def progress(self) -> dict[str, Any]:
    """What a checkpoint keeps; Diverged if a step must not be kept."""
    self._fetch_window()
    # Copies, for they are written in the background while the run continues.
    return {
      'history': list(self.history),
      'window': list(self._window),
      'timing': self.throughput.progress,
      identity_lib.KEY: self.identity,
    }

  def restore(self, progress: dict[str, Any]) -> None:
    """Continues from what `progress` was when a checkpoint was saved."""
    self.history = progress['history']
    self._window = progress['window']
    self.throughput.restore(progress['timing'])

  @contextlib.contextmanager
  def follow_steps(self, first_step: int) -> Iterator[None]:
    """Shows a bar in a terminal, log lines above it; may trace some steps."""
    self._trace_after = first_step + TRACE_AFTER
    count, total = self._config.profile_steps, self._config.total_steps
    if count and self._trace_after + count > total:
      logger.warning(
        'No steps are traced: of %d no %d are left after the first %d',
        total,
        count,
        self._trace_after,
      )
    self._bar = tqdm.tqdm(
      total=self._config.total_steps,
      initial=first_step,
      unit='step',
      dynamic_ncols=True,
      disable=None if distributed.is_primary() else True,
    )
    redirect = contextlib.nullcontext()
    if not self._bar.disable:
      loggers = [logging.getLogger('selfie_jax')]
      redirect = tqdm_logging.logging_redirect_tqdm(loggers)
    with self._bar, redirect, self._trace:
      yield

  def step(self, step: int, metrics: dict[str, jax.Array]) -> None:
    """Takes the metrics of a training step, without waiting for them."""
    self._window.append({'step': step} | metrics)
    self._open_writer()
    self._bar.update()
    self._trace_if_due(step)

  def train_row(self, step: int) -> None:
    """Makes a row of the means over the steps since the last such row."""
    self._fetch_window()
    rows, self._window = self._window, []
    values = {
      name: sum(row[name] for row in rows) / len(rows)
      for name in rows[0]
      if name != 'step'
    }
    with self.throughput.paused():
      self.row(step, 'train', values, **self.throughput.measure())
      if jax.local_devices()[0].platform == 'cpu':
        cache.release_memory()

  def row(
    self, step: int, split: str, values: dict[str, float], **timing: float
  ) -> None:
    """Adds a row to the history, and shows it with `timing`.

    The log's record has the row as its attribute `row`. An evaluation's row is
    written to history.json at once. Raises Diverged for a value that is not
    finite.
    """
    first = [name for name in FIRST if name in values]
    values = {name: values[name] for name in [*first, *sorted(values)]}
    for name, value in values.items():
      if not math.isfinite(value):
        raise errors.Diverged(
          f'{split} {name} ({value:.4g}) is not finite at step {step}'
        )
    self.history.append({'step': step, 'part': split} | values)
    shown, extra = values | timing, {'row': self.history[-1]}
    logger.info('step %d %s: %s', step, split, line(shown), extra=extra)
    scalars = {f'{split}/{name}': value for name, value in shown.items()}
    with workdir_lib.writing(self._workdir):
      self._open_writer().result().write_scalars(step, scalars)
      if split != 'train':
        self.write_history()

  def rows(self, split: str) -> dict[int, dict[str, float]]:
    """The rows of a split or an evaluator: values by step."""
    return {
      row['step']: {k: v for k, v in row.items() if k not in ('step', 'part')}
      for row in self.history
      if row['part'] == split
    }

  def write_figures(self, figures: dict[str, Any]) -> None:
    """Shows matplotlib's figures in TensorBoard, by name."""
    from selfie_jax import figures as figures_lib  # loads matplotlib

    images = {
      name: figures_lib.pixels(figure)[None] for name, figure in figures.items()
    }
    with workdir_lib.writing(self._workdir):
      writer = self._open_writer().result()
      writer.write_images(self._config.total_steps, images)

  def write_history(self) -> None:
    if distributed.is_primary():
      path = self._workdir / 'history.json'
      workdir_lib.write_json(path, self.history, indent=None)

  def _open_writer(self) -> futures.Future:
    """The writer, which is loaded beside the run when first asked for."""
    if self._writer is None:
      pool = futures.ThreadPoolExecutor(1, 'writer')
      self._writer = pool.submit(create_writer, self._workdir)
      pool.shutdown(wait=False)
    return self._writer

  def _trace_if_due(self, step: int) -> None:
    """Traces config.profile_steps steps, if so many are left."""
    count = self._config.profile_steps
    end = self._trace_after + count
    if not count or end > self._config.total_steps:
      return
    if step == self._trace_after:
      self._trace.enter_context(jax.profiler.trace(self._workdir))
    elif step == end:
      self._trace.close()

  def _fetch_window(self) -> None:
    """Waits for the metrics of the window's steps, which must be finite."""
    self._window = [
      {name: np.asarray(value).item() for name, value in row.items()}
      for row in jax.device_get(self._window)
    ]
    for row in self._window:
      if not np.isfinite([row['loss'], row['gradient_norm']]).all():
        raise errors.Diverged(
          f'the loss ({row["loss"]:.4g}) or its gradient (norm '
          f'{row["gradient_norm"]:.4g}) is not finite at step {row["step"]}, '
          f'where the learning rate was {row["learning_rate"]:.4g}'
        )


def create_writer(workdir: epath.Path):
  """clu's default writer; loads TensorFlow, but not Keras for TensorBoard.

  Only the primary process writes TensorBoard's files.
  """
  data.load_tensorflow()
  stub = types.ModuleType(_KERAS_CALLBACK)
  vars(stub)['Callback'] = None
  is_loaded = sys.modules.setdefault(_KERAS_CALLBACK, stub) is not stub
  from clu import metric_writers

  if not is_loaded:
    del sys.modules[_KERAS_CALLBACK]
  return metric_writers.create_default_writer(
    workdir, just_logging=not distributed.is_primary()
  )


def line(values: dict[str, float | None]) -> str:
  return '  '.join(
    f'{name} {value:.4g}' for name, value in values.items() if value is not None
  )

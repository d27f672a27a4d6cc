"""Rates, and the real loop of a job, watched from outside as it runs."""

from collections.abc import Callable
from collections.abc import Iterator
import logging
import re
import tempfile
import time
from typing import Any
from unittest import mock

import jax
import ml_collections
import numpy as np

from selfie_jax.data import input_pipeline
from selfie_jax.training import evaluation
from selfie_jax.training import train

_RATE = re.compile(r'images_per_second_per_device ([\d.e+]+)')


def batches_per_second(batches: Iterator, seconds: float) -> np.ndarray:
  """Goes through batches for at least so long.

  Returns:
    Batches a second, and a second of processor time of all threads: float64,
    [2], above zero however the machine is shared.
  """
  next(batches)  # setting up, and the first batch, are no part of the rate
  start, count = _clocks(), 0
  spent = np.zeros(2)
  while spent[0] < seconds or not spent.all():
    next(batches)
    count += 1
    spent = _clocks() - start
  return count / spent


def _clocks() -> np.ndarray:
  return np.array([time.perf_counter(), time.process_time()])


class Watch(logging.Handler):
  """What a job does between two of its log lines.

  Attributes:
    rates: images per second and device of each window between two lines of
      training metrics, as the job tells them: without evaluation and saving.
    waited: seconds of each window in which the loop waited for a batch.
    processor: seconds of processor time of each window, of all threads.
    evaluations: (part, images, seconds) of each evaluation.
  """

  def __init__(self, between: Callable[[], None]):
    """`between` is called after each window, while the job's clock stands."""
    super().__init__(logging.INFO)
    self.rates: list[float] = []
    self.waited: list[float] = []
    self.evaluations: list[tuple[str, int, float]] = []
    self.processor: list[float] = []
    self._between, self._waiting = between, 0.0
    self._used = time.process_time()

  def emit(self, record: logging.LogRecord) -> None:
    rate = _RATE.search(record.getMessage())
    if rate:
      self.rates.append(float(rate[1]))
      self.waited.append(self._waiting)
      self.processor.append(time.process_time() - self._used)
      self._between()
    self._waiting, self._used = 0.0, time.process_time()

  def timed_batches(self, batches: Iterator) -> Iterator:
    """The same batches; counts the time until each is there."""
    while True:
      start = time.perf_counter()
      batch = next(batches, None)
      self._waiting += time.perf_counter() - start
      if batch is None:
        return
      yield batch

  def timed_evaluation(
    self, evaluate: evaluation.Evaluate, parts: evaluation.Parts
  ) -> evaluation.Evaluate:
    """The same function; notes how long it takes."""

    def timed(state, part: str, *rest) -> dict[str, float] | None:
      start = time.perf_counter()
      values = evaluate(state, part, *rest)
      source, indices = parts[part]
      images = source.size if indices is None else len(indices)
      self.evaluations.append((part, images, time.perf_counter() - start))
      return values

    return timed


def run(
  config: ml_collections.ConfigDict,
  steps: int,
  rounds: int,
  between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
  """Runs a job in a folder of its own, not to its end.

  Args:
    config: the job; how long it runs and what it logs is overwritten.
    steps: of a window between two log lines.
    rounds: windows that count. One before them does not: it compiles.
    between: called after each of all the windows, while the job stands still.

  Returns:
    'rates' (images per second and device), 'processor' (images per second of
    processor time) and 'waiting' (share of the time in which the loop waited
    for a batch), one for each of the windows that count; 'evaluations': part ->
    images and seconds of its last evaluation, compiled before.
  """
  config = ml_collections.ConfigDict(config.to_dict())
  windows = rounds + 1
  # One step more than the windows have, for a second evaluation.
  config.total_steps = windows * steps + 1
  config.optimizer.warmup_steps = 0
  config.log_every = steps
  config.eval_every = config.checkpoint_every = windows * steps
  watch = Watch(between)
  make_batches, make_evaluate = input_pipeline.train_batches, evaluation.create
  logger = logging.getLogger('selfie_jax')
  logger.setLevel(logging.INFO)
  logger.propagate = False
  logger.addHandler(watch)
  try:
    with (
      tempfile.TemporaryDirectory() as workdir,
      mock.patch.object(
        input_pipeline,
        'train_batches',
        lambda *args, **kw: watch.timed_batches(make_batches(*args, **kw)),
      ),
      mock.patch.object(
        evaluation,
        'create',
        lambda task, config, parts: watch.timed_evaluation(
          make_evaluate(task, config, parts), parts
        ),
      ),
    ):
      train.train_and_evaluate(config, workdir)
  finally:
    logger.removeHandler(watch)
    logger.propagate = True
  seconds = [
    steps * config.batch_size / rate / jax.device_count()
    for rate in watch.rates
  ]
  shares = [
    waited / total for waited, total in zip(watch.waited, seconds, strict=True)
  ]
  return {
    'rates': watch.rates[1:windows],
    'processor': [
      steps * config.batch_size / used for used in watch.processor[1:windows]
    ],
    'waiting': shares[1:windows],
    'evaluations': {
      part: {'images': images, 'seconds': spent}
      for part, images, spent in watch.evaluations
    },
  }

"""Exact evaluation: every example of a split, once."""

from collections.abc import Callable
from concurrent import futures
import dataclasses
import functools
import logging
from typing import Any

import jax
import ml_collections
import numpy as np

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import sources
from selfie_jax.data import splits as splits_lib
from selfie_jax.storage import weights
from selfie_jax.tasks import train_state
from selfie_jax.training import reporting

logger = logging.getLogger(__name__)

# By name: a source and which of its examples (None: all).
Splits = dict[str, tuple[sources.Source, np.ndarray | None]]


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """An evaluation that is repeated while a job trains.

  Attributes:
    name: of its rows in the history: a split, or a name of its own.
    every: steps between two rows.
    evaluate: (state, is_stopped) -> values; None if it was stopped.
  """

  name: str
  every: int
  evaluate: Callable[..., dict[str, float] | None]


# (config, source of the training images) -> an evaluator
CreateEvaluator = Callable[
  [ml_collections.ConfigDict, sources.Source], Evaluator
]


def choose_splits(
  config: ml_collections.ConfigDict,
  train_source: sources.Source,
  test_source: sources.Source,
) -> tuple[np.ndarray | None, Splits]:
  """Training indices (None: all), and the splits to evaluate on.

  'test' is always there, 'validation' where config.validation_fraction asks
  for it. Finetuning and probes take the images with a label only; for
  pretraining, those without are a class like the others.

  Raises:
    UserError: a fraction leaves a class without an image, or a split to
      finetune, probe or test on has no labels.
  """
  needs_labels = config.mode != 'pretrain'
  labelled = _labelled(test_source, 'test') if needs_labels else None
  splits = {'test': (test_source, labelled)}
  if config.label_fraction == 1 and not config.validation_fraction:
    return _labelled(train_source, 'train') if needs_labels else None, splits
  labels = train_source.labels
  if not needs_labels:
    labels = np.where(labels < 0, train_source.num_classes, labels)
  train, validation = splits_lib.split(
    labels, config.label_fraction, config.validation_fraction, config.seed
  )
  counts = len(train), len(validation), train_source.size
  logger.info('%d images to train on, %d to validate on, of %d', *counts)
  if len(validation):
    splits['validation'] = (train_source, validation)
  elif config.validation_fraction:
    raise errors.UserError(
      f'label_fraction={config.label_fraction:g} leaves no validation image; '
      'give a larger one, or a larger --config.validation_fraction'
    )
  return train, splits


def _labelled(source: sources.Source, split: str) -> np.ndarray | None:
  """Positions of the images with a label; None if that is all."""
  labels = source.labels
  if not (labels >= 0).any():
    raise errors.UserError(
      f'No {split} image has a label; choose a labelled split with'
      f' --config.dataset.{split}_split=NAME'
    )
  return None if (labels >= 0).all() else np.flatnonzero(labels >= 0)


class Evaluation:
  """Evaluates states of a task on the splits: each example once.

  Batches are filled up to config.eval_batch_size and masked, and sums are
  divided by the number of examples at the very end, so the means depend on
  neither the batch size nor the number of devices.

  Attributes:
    name: the split to evaluate on while the job trains: 'validation', where
      there is one, else 'test'.
    every: steps between two such evaluations.
  """

  def __init__(self, task, config: ml_collections.ConfigDict, splits: Splits):
    self._config, self._splits = config, splits
    self._step = jax.pmap(
      functools.partial(task.eval_step, config=config),
      train_state.AXIS,
      in_axes=(None, 0),
      out_axes=None,
    )
    self._compiled: futures.Future | None = None
    self.name = 'validation' if 'validation' in splits else 'test'
    self.every = config.eval_every

  def prepare(self, state: train_state.TrainState) -> None:
    """Starts to compile for states like this one, in a thread.

    Not in one of several processes, where jax's lowering does not know the
    others' share of a batch, nor on a GPU, whose kernels are chosen by time.
    """
    is_gpu = jax.local_devices()[0].platform == 'gpu'
    if not (self._compiled or is_gpu or jax.process_count() > 1):
      shapes = jax.eval_shape(lambda: state)  # for it may be donated meanwhile
      pool = futures.ThreadPoolExecutor(1, 'compile')
      self._compiled = pool.submit(self._compile, shapes)
      pool.shutdown(wait=False)

  def evaluate(
    self,
    state: train_state.TrainState,
    is_stopped: Callable[[], bool] = lambda: False,
    split: str | None = None,
  ) -> dict[str, float] | None:
    """Exact means over a split, `name` if not given; None if `is_stopped`."""
    self.prepare(state)
    step = self._compiled.result() if self._compiled else self._step
    sums = []
    for batch in self._batches(*self._splits[split or self.name]):
      if is_stopped():
        return None
      sums.append(step(state, batch))
      # Two batches are in flight; more would be no faster, and delay SIGTERM.
      jax.block_until_ready(sums[-2:-1])
    totals = jax.tree.map(
      lambda *values: sum(map(float, values)), *jax.device_get(sums)
    )
    count = totals.pop('count')
    return {name: total / count for name, total in totals.items()}

  def _compile(self, shapes: train_state.TrainState) -> Callable[..., Any]:
    source, _ = self._splits['test']
    batch = next(self._batches(source, np.arange(1)))  # all have this shape
    return self._step.lower(shapes, batch).compile()

  def _batches(self, source: sources.Source, indices: np.ndarray | None):
    batches = batches_lib.eval_batches(
      source,
      indices,
      self._config.eval_batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    devices = jax.local_device_count()
    return (batches_lib.shard(batch, devices) for batch in batches)


def test_best(
  state, evaluation: Evaluation, manager, reporter: reporting.Reporter
):
  """The state to keep and its evaluations; reads the test set once.

  With a validation split that is the checkpoint best on it (the later one of
  two equals), else the last, which has been evaluated on the test set.
  """
  rows = reporter.rows(evaluation.name)
  if evaluation.name == 'test':
    return state, {'test': rows[max(rows)]}
  state = jax.device_put(
    weights.restore_best(manager, state, reporter.history),
    distributed.local_sharding(),
  )
  step = int(state.step)
  logger.info(
    'Testing the checkpoint of step %d, the best on the validation split', step
  )
  values = evaluation.evaluate(state, split='test')
  reporter.row(step, 'test', values)
  return state, {'validation': rows[step], 'test': values}

"""Exact evaluation: every example of a part of the data, once."""

from collections.abc import Callable
import functools
import logging
from typing import Any

import jax
import ml_collections
import numpy as np

from selfie_jax import input_pipeline
from selfie_jax import label_subsets
from selfie_jax import sources
from selfie_jax import task as task_lib

logger = logging.getLogger(__name__)

# Parts of the data by name: a source and which of its examples (None: all).
Parts = dict[str, tuple[sources.Source, np.ndarray | None]]
# (state, name of a part) -> exact means over that part
Evaluate = Callable[[task_lib.TrainState, str], dict[str, float]]


def choose_parts(
  config: ml_collections.ConfigDict,
  train_source: sources.Source,
  test_source: sources.Source,
) -> tuple[np.ndarray | None, Parts]:
  """Training indices (None: all), and the parts to evaluate on.

  'test' is always there, 'validation' where config.validation_fraction asks
  for it.

  Raises:
    UserError: a fraction leaves a class without an image.
  """
  parts = {'test': (test_source, None)}
  if config.label_fraction == 1 and not config.validation_fraction:
    return None, parts
  train, validation = label_subsets.split(
    train_source.labels,
    config.label_fraction,
    config.validation_fraction,
    config.seed,
  )
  logger.info(
    '%d images to train on, %d to validate on, of %d',
    len(train),
    len(validation),
    train_source.size,
  )
  if len(validation):
    parts['validation'] = (train_source, validation)
  return train, parts


def create(task, config: ml_collections.ConfigDict, parts: Parts) -> Evaluate:
  """Makes the function that evaluates a state of `task` on one of the parts.

  Batches are filled up to config.eval_batch_size and masked, and sums are
  divided by the number of examples at the very end, so the means depend on
  neither the batch size nor the number of devices.
  """
  eval_step = jax.pmap(
    functools.partial(task.eval_step, config=config),
    task_lib.AXIS,
    in_axes=(None, 0),
    out_axes=None,
  )

  def evaluate(state: task_lib.TrainState, part: str) -> dict[str, float]:
    source, indices = parts[part]
    batches = input_pipeline.eval_batches(
      source, indices, config.eval_batch_size
    )
    devices = jax.local_device_count()
    sums = jax.device_get(
      [eval_step(state, input_pipeline.shard(b, devices)) for b in batches]
    )
    count = sum(float(row['count']) for row in sums)
    return {
      name: sum(float(row[name]) for row in sums) / count
      for name in sums[0]
      if name != 'count'
    }

  return evaluate


def accuracy(values: dict[str, Any]) -> float:
  """The task's accuracy among its metrics, by whatever name."""
  return next(v for name, v in values.items() if name.endswith('accuracy'))

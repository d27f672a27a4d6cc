"""Whether a run is better than guessing; if not, it says so once."""

import logging
import math
from typing import Any

import ml_collections
import numpy as np

from selfie_jax.training import evaluation

logger = logging.getLogger(__name__)

STEPS = 200  # after the warm-up; before, a run may be no better yet
MARGIN = 0.01  # share of its loss by which a guess is never better
ERRORS = 3  # standard errors of the accuracy of a guess

Row = dict[str, Any]


def warn(
  config: ml_collections.ConfigDict,
  history: list[Row],
  monitor: evaluation.Monitor,
) -> None:
  """Says that the newest evaluation is a guess, if none was before."""
  if monitor.labels is None:
    return
  places = [i for i, row in enumerate(history) if row['part'] == monitor.part]
  *before, newest = [
    is_guess(config, history[: i + 1], monitor) for i in places
  ]
  if not newest or any(before):
    return
  rate = config.optimizer.learning_rate
  advice = (
    f'another rate, such as --config.optimizer.learning_rate={rate / 10:g}'
  )
  if config.mode == 'pretrain':
    advice = (
      'whole pictures, for in crops of textures, and seen from above, no patch '
      f'has a place of its own, and nothing else helps; else {advice}'
    )
  logger.warning(
    'Step %d: no better than guessing yet (%s loss %.4g, that of a guess %.4g).'
    ' See docs/own_images.md; worth trying: %s',
    history[-1]['step'],
    monitor.part,
    history[-1]['loss'],
    _guess(history[-1], monitor.labels)[0],
    advice,
  )


def is_guess(
  config: ml_collections.ConfigDict,
  history: list[Row],
  monitor: evaluation.Monitor,
) -> bool | None:
  """Whether the newest evaluation is no better than guessing, nor training.

  The loss of both is that of a guess, or more, and the accuracy is within the
  noise of a guess. A guess is one of a puzzle's targets, or the most frequent
  class, with the classes' shares as probabilities.

  Args:
    config: the job.
    history: of the run.
    monitor: whose evaluations count; it has the labels of the images.

  Returns:
    None if the run is too young to say.
  """
  trained, row = (
    next((r for r in reversed(history) if r['part'] == part), None)
    for part in ('train', monitor.part)
  )
  if (
    trained is None
    or row is None
    or row['step'] < config.optimizer.warmup_steps + STEPS
  ):
    return None
  loss, accuracy, answers = _guess(row, monitor.labels)
  in_training, _, _ = _guess(trained, monitor.labels)
  error = math.sqrt(accuracy * (1 - accuracy) / answers)
  name = 'patch_accuracy' if 'chance' in row else 'accuracy'
  return bool(
    loss > 0
    and row['loss'] >= (1 - MARGIN) * loss
    and trained['loss'] >= (1 - MARGIN) * in_training
    and row[name] <= accuracy + ERRORS * error
  )


def _guess(row: Row, labels: np.ndarray) -> tuple[float, float, int]:
  """A guess's loss and accuracy, and how many answers an evaluation has."""
  if 'chance' in row:
    return -math.log(row['chance']), row['chance'], len(labels) / row['chance']
  shares = np.bincount(labels) / len(labels)
  shares = shares[shares > 0]
  return -(shares * np.log(shares)).sum(), shares.max(), len(labels)

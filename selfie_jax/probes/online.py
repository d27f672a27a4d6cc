"""Nearest neighbours during pretraining: how good P's features are so far."""

from collections.abc import Callable
import functools

import jax
import ml_collections
import numpy as np

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import sources
from selfie_jax.models import features as features_lib
from selfie_jax.tasks import train_state
from selfie_jax.training import evaluation

PART = 'knn'  # of its rows in the history
LAYER = 'patches'  # as training sees them; block3 has other statistics
QUERIES = 5  # one image of five is classified, the others vote


def evaluators(
  config: ml_collections.ConfigDict,
) -> list[evaluation.CreateEvaluator]:
  """What train_and_evaluate is to take for this config."""
  is_asked_for = config.mode == 'pretrain' and config.knn.every
  return [create] if is_asked_for else []


def create(
  config: ml_collections.ConfigDict, source: sources.Source
) -> evaluation.Evaluator:
  """An evaluator that gives {'knn_accuracy': ...}, in 0..1.

  It classifies images of `source`, the training split: the same for every seed
  and at every step, whole and not augmented. No weight and no random number of
  the run is touched, and no test image is read.

  Raises:
    UserError: fewer than five images have a label.
  """
  # scikit-learn takes a second to import; runs without this save it.
  from selfie_jax.probes import nearest_neighbours

  labelled = np.flatnonzero(source.labels >= 0)
  if len(labelled) < QUERIES:
    raise errors.UserError(
      f'knn.every={config.knn.every} needs labelled images, of which the '
      f'training split has {len(labelled)}; turn it off: --config.knn.every=0'
    )
  rng = np.random.default_rng(train_state.EVALUATION_SEED)
  chosen = rng.permutation(labelled)[: config.knn.images]
  asked = np.arange(len(chosen)) % QUERIES == 0
  split = distributed.local_sharding(train_state.AXIS)
  compute = functools.partial(features_lib.outputs, config, names=(LAYER,))
  outputs = jax.jit(compute)

  def evaluate(
    state: train_state.TrainState,
    is_stopped: Callable[[], bool] = lambda: False,
  ) -> dict[str, float] | None:
    rows = []
    for batch in batches_lib.eval_batches(
      source, chosen, config.eval_batch_size
    ):
      if is_stopped():
        return None
      images = jax.device_put(batch['image'], split)
      rows.append(np.asarray(outputs(state.variables, images)[LAYER]))
    features = np.concatenate(rows)[: len(chosen)]
    if not np.isfinite(features).all():
      return {'knn_accuracy': float('nan')}
    labels = source.labels[chosen]
    accuracy = nearest_neighbours.accuracy(
      (features[~asked], labels[~asked]),
      (features[asked], labels[asked]),
      config.knn.neighbours,
      config.knn.temperature,
    )
    return {'knn_accuracy': accuracy}

  return evaluation.Evaluator(PART, config.knn.every, evaluate)

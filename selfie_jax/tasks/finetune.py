"""The finetuning task: classify images, from P's weights or from scratch."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from selfie_jax import errors
from selfie_jax.models import build
from selfie_jax.tasks import train_state

logger = logging.getLogger(__name__)

# What no pretraining run has; all other parts are shared by name.
NEW_PARTS = ('block4', 'block4_norm', 'head')
# What a file of timm's may lack too.
NOT_IN_FILES = ('block3_norm', 'attention_pooling', 'positions')


def create_state(
  config: ml_collections.ConfigDict,
  num_classes: int,
  pretrained: dict[str, Any] | None = None,
) -> train_state.TrainState:
  """A fresh state; with pretrained weights, all but block4 and head from them.

  Args:
    config: the job.
    num_classes: outputs of the head.
    pretrained: 'params' and 'batch_stats' of config.init_from. Those of a file
      in timm's format give all that it has but the head.

  Raises:
    UserError: they do not fit the model.
  """
  size = config.image_size
  state = train_state.initialise(
    config, build.classifier(config, num_classes), jnp.zeros((1, size, size, 3))
  )
  if pretrained is None:
    return state
  params = _transfer(pretrained['params'], state.params, config)
  stats = _transfer(pretrained['batch_stats'], state.batch_stats, config)
  _report(pretrained['params'], state.params, config)
  return state.replace(params=params, batch_stats=stats)


def train_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
):
  """One step; see train_state.update."""
  keys = train_state.example_keys(config.seed, state.step, batch['index'])
  images = build.normalise(batch['image'], config)

  def loss_fn(params):
    logits, updates = state.apply_fn(
      {'params': params, 'batch_stats': state.batch_stats},
      images,
      train=True,
      dropout_keys=keys,
      mutable=['batch_stats'],
    )
    metrics = {k: v.mean() for k, v in _score(logits, batch['label']).items()}
    return metrics['loss'], (metrics, updates['batch_stats'])

  return train_state.update(state, config, loss_fn)


def eval_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
) -> dict[str, jax.Array]:
  """Sums over the batch of loss and hits."""
  logits = state.apply_fn(
    state.variables,
    build.normalise(batch['image'], config),
    train=False,
  )
  return train_state.totals(batch, _score(logits, batch['label']))


def summary(
  config: ml_collections.ConfigDict,
  state: train_state.TrainState,
  evaluations: dict[str, dict[str, float]],
  batch: dict[str, jax.Array],
):
  """The run's metrics for results.json; nothing to draw."""
  del config, state, batch
  test, validation = evaluations['test'], evaluations.get('validation')
  return {
    'test_accuracy': test['accuracy'],
    'validation_accuracy': validation and validation['accuracy'],
    'loss': test['loss'],
  }, None


def _score(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
  return {
    'loss': optax.softmax_cross_entropy_with_integer_labels(logits, labels),
    'accuracy': (logits.argmax(axis=-1) == labels).astype(jnp.float32),
  }


def _is_file(config: ml_collections.ConfigDict) -> bool:
  return config.init_from.endswith('.safetensors')


def _lift(pretrained):
  """Names of the pretraining model as the classifiers have them."""
  rest = {k: v for k, v in pretrained.items() if k != 'patch_network'}
  return pretrained.get('patch_network', {}) | rest


def _may_be_new(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  return NEW_PARTS + (NOT_IN_FILES if _is_file(config) else ())


def _transfer(pretrained, target, config: ml_collections.ConfigDict):
  """A copy of the parts that the models share; the others stay as they are.

  Raises:
    UserError: a part that should be there is missing or of another shape.
  """
  source = _lift(pretrained)
  new = _may_be_new(config)
  expected = {k: v for k, v in target.items() if k in source or k not in new}
  given = {k: v for k, v in source.items() if k in expected}
  shapes = [
    {
      jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (given, expected)
  ]
  wrong = [
    f'{name} is {shapes[0].get(name, "missing")}, '
    f'the model has {shapes[1].get(name, "none")}'
    for name in sorted(shapes[0].keys() | shapes[1].keys())
    if shapes[0].get(name) != shapes[1].get(name)
  ]
  if wrong:
    raise errors.UserError(
      f'init_from={config.init_from} does not fit the model: '
      + '; '.join(wrong[:3])
      + (f' and {len(wrong) - 3} more' if wrong[3:] else '')
    )
  return target | given


def _report(pretrained, target, config: ml_collections.ConfigDict) -> None:
  """Prints what was loaded and what stays new."""
  source = _lift(pretrained)

  def parts(names):
    return ', '.join(names) or 'nothing'

  logger.info(
    'Loaded from %s: %s',
    config.init_from,
    parts(k for k in target if k in source),
  )
  logger.info('New: %s', parts(k for k in target if k not in source))
  logger.info(
    'Not used by %s: %s',
    config.model.name,
    parts(k for k in source if k not in target),
  )

"""The finetuning task: classify images, from P's weights or from scratch."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from selfie_jax.models import build
from selfie_jax.tasks import train_state
from selfie_jax.tasks import transfer


def create_state(
  config: ml_collections.ConfigDict,
  num_classes: int,
  pretrained: dict[str, Any] | None = None,
) -> train_state.TrainState:
  """A fresh state, with `pretrained` copied in where it is given.

  Args:
    config: the job.
    num_classes: outputs of the head.
    pretrained: 'params' and 'batch_stats' of config.init_from; see transfer.

  Raises:
    UserError: they do not fit the model.
  """
  size = config.image_size
  state = train_state.initialise(
    config, build.classifier(config, num_classes), jnp.zeros((1, size, size, 3))
  )
  if pretrained is None:
    return state
  return transfer.copy_pretrained(pretrained, state, config)


def train_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
):
  """One step; see train_state.update."""
  keys = train_state.example_keys(config.seed, state.step, batch['index'])
  images = build.normalise(batch['image'], config)
  return train_state.update(
    state, config, (images,), keys, lambda x: _score(x, batch['label'])
  )


def eval_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
) -> dict[str, jax.Array]:
  """Sums over the batch of loss and accuracy."""
  images = build.normalise(batch['image'], config)
  logits = state.apply_fn(state.variables, images, train=False)
  return train_state.masked_sums(batch, _score(logits, batch['label']))


def summary(
  config: ml_collections.ConfigDict,
  state: train_state.TrainState,
  evaluations: dict[str, dict[str, Any]],
  batch: dict[str, jax.Array],
) -> tuple[dict[str, Any], dict[str, jax.Array]]:
  """The run's metrics for results.json; nothing to draw."""
  del config, state, batch
  test, validation = evaluations['test'], evaluations.get('validation')
  return {
    'test_accuracy': test['accuracy'],
    'validation_accuracy': validation and validation['accuracy'],
    'loss': test['loss'],
  }, {}


def _score(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
  return {
    'loss': optax.softmax_cross_entropy_with_integer_labels(logits, labels),
    'accuracy': (logits.argmax(axis=-1) == labels).astype(jnp.float32),
  }

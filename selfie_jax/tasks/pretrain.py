"""The pretraining task: predict which patch belongs to each masked position.

Paper, section 3. The patches and their split are made here; the network
(models/selfie.py) scores them; the loss is the cross-entropy over the masked
patches of the same image.
"""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import optax

from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.tasks import train_state


def create_state(
  config: ml_collections.ConfigDict,
  num_classes: int,
  pretrained: None = None,
) -> train_state.TrainState:
  """A fresh state; neither classes nor weights from elsewhere play a part."""
  del num_classes, pretrained
  n, m = _counts(config)
  size = config.patch_size
  return train_state.initialise(
    config,
    build.selfie(config),
    jnp.zeros((1, n, size, size, 3)),
    jnp.zeros((1, n - m), jnp.int32),
    jnp.zeros((1, m), jnp.int32),
  )


def train_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
):
  """One step; see train_state.update. Masks and dropout are per image."""
  keys = train_state.example_keys(config.seed, state.step, batch['index'])
  mask_keys, dropout_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
  patch_inputs = _mask(config, batch['image'], mask_keys)
  return train_state.update(state, config, patch_inputs, dropout_keys, _score)


def eval_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
) -> dict[str, jax.Array]:
  """Sums over the batch; the masks of an image are the same at every step."""
  logits, _, _ = predict(state, batch, config)
  return train_state.masked_sums(batch, _score(logits))


def summary(
  config: ml_collections.ConfigDict,
  state: train_state.TrainState,
  evaluations: dict[str, dict[str, float]],
  batch: dict[str, jax.Array],
) -> tuple[dict[str, float], dict[str, jax.Array]]:
  """The run's metrics, and some test images with the model's predictions.

  Args:
    config: the job.
    state: the state that was evaluated.
    evaluations: means of eval_step's values, by split ('test').
    batch: some test examples.

  Returns:
    metrics for results.json, and 'images' [n, s, s, 3], 'targets' [n, targets]
    and 'predictions' [n, targets] to draw.
  """
  logits, _, targets = jax.jit(functools.partial(predict, config=config))(
    state, batch
  )
  test = evaluations['test']
  return {k: test[k] for k in ('loss', 'patch_accuracy', 'chance')}, {
    'images': batch['image'],
    'targets': targets,
    'predictions': logits.argmax(axis=-1),
  }


def predict(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  config: ml_collections.ConfigDict,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Scores the masked patches of a batch, with the masks of evaluation.

  Returns:
    Logits [batch, targets, targets], see models.selfie.Selfie; the context
    [batch, patches - targets] and the targets [batch, targets].
  """
  keys = train_state.example_keys(
    train_state.EVALUATION_SEED, 0, batch['index']
  )
  patch_inputs = _mask(config, batch['image'], keys)
  logits = state.apply_fn(state.variables, *patch_inputs, train=False)
  return logits, *patch_inputs[1:]


def _counts(config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Patches and targets of an image."""
  n = patches.grid_size(config.image_size, config.patch_size) ** 2
  return n, patches.num_targets(n, config.masked_fraction)


def _mask(
  config: ml_collections.ConfigDict, images: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Patches, context and targets of images, with a mask for each key."""
  n, m = _counts(config)
  context, targets = jax.vmap(lambda key: patches.split(key, n, m))(keys)
  x = patches.extract(build.normalise(images, config), config.patch_size)
  return x, context, targets


def _score(logits: jax.Array) -> dict[str, jax.Array]:
  """Per-image values [batch] of logits [batch, targets, targets]."""
  right = jnp.arange(logits.shape[-1])  # target i belongs to position i
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.broadcast_to(right, logits.shape[:-1])
  )
  hits = logits.argmax(axis=-1) == right
  return {
    'loss': losses.mean(axis=-1),
    'patch_accuracy': hits.mean(axis=-1),
    'chance': jnp.full(logits.shape[:1], 1 / logits.shape[-1]),
  }

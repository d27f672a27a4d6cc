"""What a trained network is held against: first weights, statistics, pixels."""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from selfie_jax.inference import model as model_lib
from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain

MOST_PIXELS = 32  # side of the images whose pixels are probed
BATCHES, BATCH = 16, 128  # images that batch statistics are taken of


def initial(model: model_lib.Model, images: np.ndarray) -> model_lib.Model:
  """The network of `model` with the random weights of its run's seed.

  Such weights have no running statistics yet, and the initial 0 and 1 fit no
  layer but the first; see `with_statistics`. They are taken as training takes
  them: of patches for a pretraining run, of whole images for the others.

  Args:
    model: of a run.
    images: some of its training images, uint8 [n, s, s, 3].
  """
  config = _unsynchronised(model.config)
  is_pretraining = config.mode == 'pretrain'
  if is_pretraining:
    state = pretrain.create_state(config, 0)
  else:
    config.init_from = ''
    state = finetune.create_state(config, len(model.class_names))
  fresh = _replace(model, state.variables)
  return with_statistics(fresh, images, of_patches=is_pretraining)


def with_statistics(
  model: model_lib.Model, images: np.ndarray, of_patches: bool
) -> model_lib.Model:
  """The network with batch statistics of these images, and the same weights.

  They are the means over batches that go through the network as in training,
  each normalised by its own.

  Args:
    model: of a run; of pretraining if `of_patches`.
    images: uint8 [n, s, s, 3]; the first BATCHES * BATCH are taken, in batches
      of BATCH (one, if there are fewer).
    of_patches: whether the images are cut into patches, as in pretraining.
  """
  config = ml_collections.FrozenConfigDict(_unsynchronised(model.config))
  count = max(min(len(images) // BATCH, BATCHES), 1)
  batches = (images[i * BATCH : (i + 1) * BATCH] for i in range(count))
  each = [
    _statistics(config, model.variables, batch, of_patches) for batch in batches
  ]
  means = jax.tree.map(lambda *values: jnp.stack(values).mean(axis=0), *each)
  return _replace(model, model.variables | {'batch_stats': means})


def pixels(
  config: ml_collections.ConfigDict, images: np.ndarray
) -> dict[str, np.ndarray]:
  """Normalised pixels, of larger images means: float32 [batch, dim]."""
  x = build.normalise(jnp.asarray(images), config)
  if config.image_size > MOST_PIXELS:
    shape = (len(x), MOST_PIXELS, MOST_PIXELS, 3)
    x = jax.image.resize(x, shape, 'linear')  # antialiased
  return {'pixels': np.asarray(x).reshape(len(x), -1)}


@functools.partial(jax.jit, static_argnames=('config', 'of_patches'))
def _statistics(config, variables, images, of_patches: bool):
  """The batch statistics of one batch; all others are forgotten."""
  x = build.normalise(images, config)
  if of_patches:
    x = patches.extract(x, config.patch_size)
    x = x.reshape((-1,) + x.shape[2:])
  is_pretraining = config.mode == 'pretrain'
  if is_pretraining:
    network = build.patch_network(config)
    variables = {k: v['patch_network'] for k, v in variables.items()}
  else:
    num_classes = len(variables['params']['head']['bias'])
    network = build.classifier(config, num_classes)
  _, state = network.apply(variables, x, train=True, mutable='batch_stats')
  new = state['batch_stats']
  return {'patch_network': new} if is_pretraining else new


def _unsynchronised(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """As `config`, for one device and with no memory of earlier batches."""
  config = config.copy_and_resolve_references()
  config.model.sync_batch_norm = False
  config.model.norm_momentum = 0.0
  return config


def _replace(model: model_lib.Model, variables) -> model_lib.Model:
  return model_lib.Model(
    model.config, variables, model.class_names, model.batch_size, model.step
  )

"""What a trained network is compared with: random weights, and pixels."""

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

MAX_SIDE = 32  # of the images whose pixels are probed
BATCH = 128  # images of one batch's statistics
IMAGES = 16 * BATCH  # that batch statistics are taken of


def initial(model: model_lib.Model, images: np.ndarray) -> model_lib.Model:
  """The network of `model` with the random weights of its run's seed.

  BatchNorm's initial statistics, 0 and 1, fit no layer but the first. The
  network gets the means of the statistics of batches in training mode: of
  patches for a pretraining run, of whole images for the others. `images` are
  some of its training images, uint8 [n, s, s, 3]; IMAGES at most are used, in
  batches of BATCH (one, if there are fewer).
  """
  config = model.config.copy_and_resolve_references()
  config.model.sync_batch_norm = False  # it runs on one device
  config.model.norm_momentum = 0.0  # a batch's statistics are its own
  if config.mode == 'pretrain':
    state = pretrain.create_state(config, 0)
  else:
    config.init_from = ''
    state = finetune.create_state(config, len(model.class_names))
  frozen = ml_collections.FrozenConfigDict(config)
  used = min(len(images), IMAGES) // BATCH * BATCH
  each = [
    _batch_statistics(frozen, state.variables, images[i : i + BATCH])
    for i in range(0, max(used, 1), BATCH)
  ]
  means = jax.tree.map(lambda *values: jnp.stack(values).mean(axis=0), *each)
  variables = state.variables | {'batch_stats': means}
  return model_lib.Model(
    model.config, variables, model.class_names, model.batch_size, model.step
  )


def pixels(
  config: ml_collections.ConfigDict, images: np.ndarray
) -> dict[str, np.ndarray]:
  """Normalised pixels as features; large images are resized to MAX_SIDE.

  Returns:
    {'pixels': float32 [n, dim]}, of images uint8 [n, s, s, 3].
  """
  x = build.normalise(jnp.asarray(images), config)
  if config.image_size > MAX_SIDE:
    x = jax.image.resize(x, (len(x), MAX_SIDE, MAX_SIDE, 3), 'linear')
  return {'pixels': np.asarray(x).reshape(len(x), -1)}


@functools.partial(jax.jit, static_argnames='config')
def _batch_statistics(config, variables, images):
  x = build.normalise(images, config)
  if config.mode == 'pretrain':
    x = patches.extract(x, config.patch_size)
    x = x.reshape((-1,) + x.shape[2:])
    network = build.patch_network(config)
    variables = {k: v['patch_network'] for k, v in variables.items()}
  else:
    num_classes = len(variables['params']['head']['bias'])
    network = build.classifier(config, num_classes)
  _, state = network.apply(variables, x, train=True, mutable='batch_stats')
  new = state['batch_stats']
  return {'patch_network': new} if config.mode == 'pretrain' else new

"""The network that a run began with, as something to compare it with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from selfie_jax import finetune
from selfie_jax import inference
from selfie_jax import patches
from selfie_jax import pretrain
from selfie_jax import resnet
from selfie_jax import task

BATCHES, BATCH = 16, 128  # images that the batch statistics are taken of


def load(model: inference.Model, images: np.ndarray) -> inference.Model:
  """The network of `model` with the random weights of its run's seed.

  Such weights have no running statistics yet, and 0 and 1, which stand there at
  the start, fit no layer but the first. Theirs are the means over batches that
  go through the network as in training, without a change of any weight: cut
  into patches for a pretraining run, whole for the others.

  Args:
    model: of a run.
    images: some of its training images, uint8 [n, s, s, 3]; the first
      BATCHES * BATCH are taken, in batches of BATCH (one, if there are fewer).
  """
  config = model.config.copy_and_resolve_references()
  config.model.sync_batch_norm = False  # no pmap here
  config.model.norm_momentum = 0.0  # the statistics of this batch alone
  is_pretraining = config.mode == 'pretrain'
  if is_pretraining:
    state = pretrain.create_state(config, 0)
    network = resnet.PatchNetwork(**task.resnet_settings(config, 3))
    variables = {
      'params': state.params['patch_network'],
      'batch_stats': state.batch_stats['patch_network'],
    }
  else:
    config.init_from = ''
    classes = len(model.class_names)
    state = finetune.create_state(config, classes)
    network = finetune.build_model(config, classes)
    variables = {'params': state.params, 'batch_stats': state.batch_stats}

  @jax.jit
  def statistics(batch: jax.Array):
    x = task.normalise(batch, config)
    if is_pretraining:
      x = patches.extract(x, config.patch_size)
      x = x.reshape((-1,) + x.shape[2:])
    apply = functools.partial(network.apply, train=True, mutable='batch_stats')
    return apply(variables, x)[1]['batch_stats']

  count = max(min(len(images) // BATCH, BATCHES), 1)
  found = [
    statistics(images[i * BATCH : (i + 1) * BATCH]) for i in range(count)
  ]
  means = jax.tree.map(lambda *values: jnp.stack(values).mean(axis=0), *found)
  return inference.Model(
    model.config,
    {
      'params': state.params,
      'batch_stats': {'patch_network': means} if is_pretraining else means,
    },
    model.class_names,
    model.batch_size,
  )

"""Where A looks: the weights with which u0 attends to an image's places."""

from flax import linen as nn
import jax
import numpy as np

from selfie_jax import errors
from selfie_jax.inference import model as model_lib
from selfie_jax.models import patches
from selfie_jax.models import selfie
from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state


def has_attention(model: model_lib.Model) -> bool:
  """Whether the run's network has attention pooling."""
  return 'attention' in model.layers


def last_layer(model: model_lib.Model, images: np.ndarray) -> np.ndarray:
  """The weights of u0 in A's last layer, as the network computes them.

  Args:
    model: a pretraining run, whose A pools all patches, none masked; or
      resnet36_attention, whose A pools block 3's feature map.
    images: uint8 [batch, s, s, 3] of the run's size; they go through the
      network at once.

  Returns:
    float32 [batch, heads, 1 + places]; each row sums to 1. The first weight is
    u0's on itself, the others are those of the places, row by row from the top
    left.

  Raises:
    UserError: the network has no attention pooling.
  """
  if not has_attention(model):
    raise errors.UserError(
      f'model.name={model.config.model.name} has no attention pooling; give a '
      'pretraining run, or one with --config.model.name=resnet36_attention'
    )
  return np.asarray(_compute(model)(model.variables, images))


def _compute(model: model_lib.Model):
  config = model.config
  if config.mode == 'pretrain':
    network = pretrain.build_model(config)
    settings = {'method': selfie.Selfie.summarise}
  else:
    network = finetune.build_model(config, len(model.class_names))
    settings = {'train': False}

  @jax.jit
  def compute(variables, images):
    x = train_state.normalise(images, config)
    if config.mode == 'pretrain':
      x = patches.extract(x, config.patch_size)
    _, state = network.apply(
      variables,
      x,
      capture_intermediates=lambda module, _: module.name in ('query', 'key'),
      mutable='intermediates',
      **settings,
    )
    layers = state['intermediates']['attention_pooling']
    last = layers[f'layer{config.model.attention.num_layers}']['attention']
    query, key = (last[name]['__call__'][0] for name in ('query', 'key'))
    # [batch, heads, queries, 1 + places]; the first query is u0's
    return nn.dot_product_attention_weights(query, key)[:, :, 0]

  return compute

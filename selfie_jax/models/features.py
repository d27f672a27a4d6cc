"""Features of a network, as functions of its config and its variables.

Pure functions. BatchNorm uses its running statistics; there is no dropout.
"""

from collections.abc import Sequence
import functools
import itertools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.models import selfie

# By model.name; the default first. Of pretraining that which probes best
# (docs/results.md): P's statistics are of patches, not of whole images.
LAYERS = {
  'selfie': ('quadrants', 'patches', 'block3', 'attention'),
  'resnet50': ('block3', 'block4'),
  'resnet36_attention': ('block3', 'attention'),
}
CAPTURED_LAYERS = ('block3', 'block3_norm', 'block4_norm', 'attention_pooling')


def outputs(
  config: ml_collections.ConfigDict,
  variables: dict[str, Any],
  images: jax.Array,
  names: Sequence[str],
) -> dict[str, jax.Array]:
  """Layers and scores of images.

  Args:
    config: the run's.
    variables: its parameters and batch statistics.
    images: uint8 [batch, s, s, 3].
    names: which of the network's LAYERS; of a classifier, 'logits' and
      'probabilities' too.

  Returns:
    float32 [batch, ...] by name.
  """
  compute = _of_pretraining if config.mode == 'pretrain' else _of_classifier
  x = build.normalise(images, config)
  values = compute(config, variables, x, names)
  return {name: values[name].astype(jnp.float32) for name in names}


def attention_weights(
  config: ml_collections.ConfigDict,
  variables: dict[str, Any],
  images: jax.Array,
) -> jax.Array:
  """The weights of u0 in A's last layer, as the network computes them.

  Args:
    config: a pretraining run's, whose A pools all patches, none masked; or one
      of resnet36_attention, whose A pools block 3's feature map.
    variables: its parameters and batch statistics.
    images: uint8 [batch, s, s, 3].

  Returns:
    [batch, heads, 1 + places]; each row sums to 1. The first weight is u0's on
    itself, the others are those of the places, row by row from the top left.
  """
  apply = functools.partial(
    _network(config, variables).apply,
    variables,
    capture_intermediates=lambda module, _: module.name in ('query', 'key'),
    mutable='intermediates',
  )
  x = build.normalise(images, config)
  if config.mode == 'pretrain':
    x = patches.extract(x, config.patch_size)
    _, state = apply(x, method=selfie.Selfie.summarise)
  else:
    _, state = apply(x, train=False)
  layers = state['intermediates']['attention_pooling']
  last = layers[f'layer{config.model.attention.num_layers}']['attention']
  query, key = (last[name]['__call__'][0] for name in ('query', 'key'))
  # [batch, heads, queries, 1 + places]; the first query is u0's
  return nn.dot_product_attention_weights(query, key)[:, :, 0]


def _of_pretraining(config, variables, x, names):
  values = {}
  patch_network = functools.partial(
    build.patch_network(config).apply,
    {k: v['patch_network'] for k, v in variables.items()},
    train=False,
  )

  def embed(cut):  # [..., size, size, 3] to [..., dim]
    vectors = patch_network(cut.reshape((-1,) + cut.shape[-3:]))
    return vectors.reshape(cut.shape[:-3] + (-1,))

  cut = patches.extract(x, config.patch_size)
  if 'block3' in names:
    values['block3'] = patch_network(x)
  if 'patches' in names:
    values['patches'] = embed(cut).mean(axis=1)
  if 'quadrants' in names:
    dense = patches.extract_overlapping(x, config.patch_size).swapaxes(0, 1)
    rows = jax.lax.map(embed, dense)  # one after the other, to save memory
    values['quadrants'] = _pool_quadrants(rows.swapaxes(0, 1))
  if 'attention' in names:
    values['attention'] = build.selfie(config).apply(
      variables, cut, method=selfie.Selfie.summarise
    )
  return values


def _pool_quadrants(vectors: jax.Array) -> jax.Array:
  """[batch, n, n, dim], n odd, to [batch, 4 * dim]: the mean of each quadrant.

  The middle row and column are part of both sides. Coates, Ng and Lee, "An
  Analysis of Single-Layer Networks in Unsupervised Feature Learning" (2011),
  found both to matter: to cut patches densely, and to pool four quadrants.
  """
  half = vectors.shape[1] // 2 + 1
  halves = slice(None, half), slice(-half, None)
  quadrants = itertools.product(halves, halves)
  means = [vectors[:, a, b].mean(axis=(1, 2)) for a, b in quadrants]
  return jnp.concatenate(means, axis=-1)


def _of_classifier(config, variables, x, names):
  del names  # What is not asked for, the compiler leaves out.
  logits, state = _network(config, variables).apply(
    variables,
    x,
    train=False,
    capture_intermediates=lambda module, _: module.name in CAPTURED_LAYERS,
    mutable='intermediates',
  )
  captured = {k: v['__call__'][0] for k, v in state['intermediates'].items()}
  values = {'logits': logits, 'probabilities': jax.nn.softmax(logits)}
  features = captured['block3']
  if 'block3_norm' in captured:
    features = jax.nn.relu(captured['block3_norm'])
  values['block3'] = features.mean(axis=(1, 2))
  if 'block4_norm' in captured:
    values['block4'] = jax.nn.relu(captured['block4_norm']).mean(axis=(1, 2))
  if 'attention_pooling' in captured:
    values['attention'] = captured['attention_pooling']
  return values


def _network(config, variables):
  if config.mode == 'pretrain':
    return build.selfie(config)
  return build.classifier(config, len(variables['params']['head']['bias']))

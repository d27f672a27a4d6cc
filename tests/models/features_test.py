"""The weights that are drawn are those that A's output is made with."""

import functools

from flax import linen as nn
import jax
import numpy as np
import pytest
import small_jobs

from selfie_jax import errors
from selfie_jax.inference import model as model_lib
from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.models import resnet


def _summary(pooling, x, weights):
  """A of one layer, by hand: u from [batch, 1 + n, dim] and u0's weights."""
  layer = pooling['layer1']
  attention = layer['attention']
  values = np.einsum('bnd,dhe->bnhe', x, attention['value']['kernel'])
  values += attention['value']['bias']
  mixed = np.einsum('bhn,bnhe->bhe', weights, values)
  y = np.einsum('bhe,hed->bd', mixed, attention['out']['kernel'])
  y = _norm(layer['attention_norm'], x[:, 0] + y + attention['out']['bias'])
  z = nn.gelu(y @ layer['dense1']['kernel'] + layer['dense1']['bias'])
  z = z @ layer['dense2']['kernel'] + layer['dense2']['bias']
  return _norm(layer['dense_norm'], y + z)


def _pooled(model, images):
  """What A pools, by hand: [batch, places, 64]."""
  config = model.config
  x = build.normalise(images, config)
  weights = model.variables
  if config.mode == 'pretrain':
    x = patches.extract(x, config.patch_size).reshape(-1, 8, 8, 3)
    weights = {k: v['patch_network'] for k, v in weights.items()}
  network = resnet.ResNet(**build.resnet_settings(config, 3))
  h = jax.jit(functools.partial(network.apply, train=False))(weights, x)
  if config.mode == 'pretrain':
    h = h.mean(axis=(1, 2))
  return h.reshape(len(images), -1, 64)


def _norm(params, x):
  return nn.LayerNorm().apply({'params': params}, x)


@pytest.mark.parametrize('mode, places', [('pretrain', 16), ('finetune', 4)])
def test_weights_make_the_summary(request, tmp_path, batch, mode, places):
  config = request.getfixturevalue(f'{mode}_config')
  if mode == 'finetune':
    config.model.name = 'resnet36_attention'
  images = batch['image'][:5]
  small_jobs.random_run(config, tmp_path, images)
  model = model_lib.load(tmp_path)
  weights = model.attention_weights(images)
  assert weights.shape == (5, 2, 1 + places) and (weights > 0).all()
  np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
  assert weights.std(axis=-1).min() > 1e-4  # else any weights would do

  params = model.variables['params']['attention_pooling']
  u0 = np.broadcast_to(params['u0'], (5, 1, 64))
  x = np.concatenate([u0, _pooled(model, images)], axis=1)
  expected = model.embed(images, 'attention')
  np.testing.assert_allclose(
    _summary(params, x, weights), expected, rtol=1e-4, atol=1e-5
  )
  wrong = _summary(params, x, np.roll(weights, 1, axis=-1))
  assert np.abs(wrong - expected).max() > 1e-3


def test_of_several_layers_it_is_the_last(pretrain_config, tmp_path, batch):
  pretrain_config.model.attention.num_layers = 2
  images = batch['image'][:3]
  small_jobs.random_run(pretrain_config, tmp_path, images)
  model = model_lib.load(tmp_path)
  before = model.attention_weights(images)
  layers = model.variables['params']['attention_pooling']
  for name in ('query', 'key'):  # all alike: attention without a preference
    layers['layer2']['attention'][name] = jax.tree.map(
      np.zeros_like, layers['layer2']['attention'][name]
    )
  np.testing.assert_allclose(model.attention_weights(images), 1 / 17, rtol=1e-5)
  assert np.abs(before - 1 / 17).max() > 1e-3


def test_resnet50_has_no_attention(finetune_config, tmp_path, batch):
  small_jobs.random_run(finetune_config, tmp_path, batch['image'])
  model = model_lib.load(tmp_path)
  assert 'attention' not in model.layers
  with pytest.raises(errors.UserError, match='resnet36_attention'):
    model.attention_weights(batch['image'])

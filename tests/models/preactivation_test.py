"""The layer's numbers are those of flax's norm, ReLU and convolution.

Values, gradients and running statistics, in every form that it may take.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import batch_norm
from selfie_jax.models import conv
from selfie_jax.models import preactivation

CHANNELS = 8
# (features, kernel size, stride) of the convolutions.
FORMS = {
  'shrinks': [(2, 1, 1)],
  'shrinks in two': [(4, 1, 1), (16, 1, 2)],
  '3x3': [(8, 3, 1)],
  '3x3, strided': [(8, 3, 2)],
  'grows': [(32, 1, 1)],
  'grows in two': [(8, 1, 1), (32, 1, 1)],
  'a strided shortcut that grows': [(8, 1, 1), (32, 1, 2)],
}


class Layer(nn.Module):
  """The layer, or what it should be equal to."""

  convs: list[tuple[int, int, int]]
  is_plain: bool
  train: bool
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x):
    kind = nn.BatchNorm if self.is_plain else batch_norm.BatchNorm
    norm = kind(
      use_running_average=not self.train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      name='norm',
    )
    if not self.is_plain:
      convs = [conv.Conv(*c, name=f'conv{i}') for i, c in enumerate(self.convs)]
      return preactivation.norm_relu_conv(x, norm, *convs)
    y, outputs = nn.relu(norm(x)), []
    for i, (features, size, stride) in enumerate(self.convs):
      kernel = features, (size, size), stride, size // 2
      plain = nn.Conv(
        *kernel, use_bias=False, dtype=self.dtype, name=f'conv{i}'
      )
      outputs.append(plain(y))
    return outputs


def _run(form, is_plain, train, dtype=jnp.float32):
  """All gradients and (outputs, new statistics) of a form."""
  keys = jax.random.split(jax.random.key(0))
  x = 1 + 2 * jax.random.normal(keys[0], (6, 4, 4, CHANNELS))
  plain = Layer(FORMS[form], True, True, jnp.float32)
  params = jax.jit(plain.init)(keys[1], x)['params']
  params['norm'] = {
    'scale': jnp.linspace(0.5, 2, CHANNELS),
    'bias': jnp.linspace(-1, 1, CHANNELS),
  }
  mean, var = jnp.full(CHANNELS, 0.5), jnp.linspace(1, 3, CHANNELS)
  statistics = {'norm': {'mean': mean, 'var': var}}
  layer = Layer(FORMS[form], is_plain, train, dtype)

  def loss(params, x):
    variables = {'params': params, 'batch_stats': statistics}
    outputs, updates = layer.apply(variables, x, mutable=['batch_stats'])
    assert all(each.dtype == dtype for each in outputs)
    outputs = [each.astype(jnp.float32) for each in outputs]
    total = sum(
      (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum() for y in outputs
    )
    return total, (outputs, updates)

  return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)


@functools.cache
def _run_plain(form, train):
  return _run(form, True, train)


def _assert_equal(ours, theirs, tolerance):
  """Within `tolerance` of each array's largest value."""

  def check(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * abs(b).max())

  jax.tree.map(check, ours, theirs)


@pytest.mark.parametrize('mode', ['train', 'train as on a TPU', 'evaluate'])
@pytest.mark.parametrize('form', FORMS)
def test_equals_the_plain_composition(form, mode, monkeypatch):
  """In training a TPU has a form of its own, which is run here on the CPU."""
  train = mode != 'evaluate'
  theirs = _run_plain(form, train)
  if mode == 'train as on a TPU':
    monkeypatch.setattr(
      batch_norm.lax,
      'platform_dependent',
      lambda *given, default, **others: others.get('tpu', default)(*given),
    )
  _assert_equal(_run(form, False, train), theirs, 2e-5)


@pytest.mark.parametrize('form', [*FORMS][1::2])
def test_equals_the_plain_composition_in_bfloat16(form):
  """As near to the float32 numbers as bfloat16 comes, parameters float32."""
  ours_gradients, (ours_out, ours_stats) = _run(form, False, True, jnp.bfloat16)
  theirs_gradients, (theirs_out, theirs_stats) = _run_plain(form, True)
  _assert_equal(ours_out, theirs_out, 0.03)
  _assert_equal(ours_stats, theirs_stats, 0.01)
  _assert_equal(ours_gradients, theirs_gradients, 0.06)
  leaves = jax.tree.leaves((ours_stats, ours_gradients))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}

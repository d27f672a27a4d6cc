"""The layer's numbers are those of flax's norm, ReLU and lax's convolution.

Values, gradients and running statistics, in every form that it may take.
"""

import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import batch_norm
from selfie_jax.models import conv
from selfie_jax.models import preactivation

CHANNELS = 8
# (features, kernel size, stride) of the convolutions, then what is added.
FORMS = {
  'shrinks': ([(2, 1, 1)], None),
  'shrinks, and is added to': ([(2, 1, 1)], 'array'),
  'shrinks in two': ([(4, 1, 1), (16, 1, 2)], None),
  '3x3': ([(8, 3, 1)], None),
  '3x3, strided': ([(8, 3, 2)], None),
  'grows': ([(32, 1, 1)], None),
  'grows, and is added to': ([(32, 1, 1)], 'array'),
  'grows, and is added to a pending shortcut': ([(32, 1, 1)], 'pending'),
  'shrinks, and is added to a pending shortcut': ([(2, 1, 1)], 'pending'),
  'a strided shortcut that grows': ([(8, 1, 1), (32, 1, 2)], None),
}


class Layer(nn.Module):
  """The layer, or what it should be equal to."""

  convs: list[tuple[int, int, int]]
  is_plain: bool
  train: bool
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x, plus=None):
    kind = nn.BatchNorm if self.is_plain else batch_norm.BatchNorm
    norm = kind(
      use_running_average=not self.train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      name='norm1',
    )
    convs = [
      conv.Conv(*each, name=f'conv{i + 1}') for i, each in enumerate(self.convs)
    ]
    if not self.is_plain:
      return preactivation.norm_relu_conv(x, norm, *convs, plus=plus)
    y = nn.relu(norm(x))
    outputs = [_plain(y, each.weights(CHANNELS), each) for each in convs]
    if plus is not None:
      outputs[0] += _finished(plus)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _plain(y, kernel, settings):
  padding = (settings.kernel_size - 1) // 2
  return lax.conv_general_dilated(
    y,
    kernel.astype(y.dtype),
    (settings.stride, settings.stride),
    ((padding, padding), (padding, padding)),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _finished(output):
  if isinstance(output, preactivation.Pending):
    return _plain(*output, conv.Conv(1, 1))
  return output


def _inputs(form):
  """Parameters, x and what is added, of which the gradients are taken."""
  convs, plus = FORMS[form]
  draw = iter(jax.random.split(jax.random.key(0), 9))
  x = 1 + 2 * jax.random.normal(next(draw), (6, 4, 4, CHANNELS))
  params = Layer(convs, True, True, jnp.float32).init(next(draw), x)['params']
  params['norm1'] = {
    'scale': jnp.linspace(0.5, 2, CHANNELS),
    'bias': jnp.linspace(-1, 1, CHANNELS),
  }
  features = convs[0][0]
  shapes = {
    'array': [(6, 4, 4, features)],
    'pending': [(6, 4, 4, 5), (1, 1, 5, features)],
    None: [],
  }[plus]
  return params, x, [jax.random.normal(next(draw), shape) for shape in shapes]


def _step(form, is_plain, train, dtype, params, x, extra):
  """All gradients and (outputs, new statistics) of a form."""
  convs, plus = FORMS[form]
  layer = Layer(convs, is_plain, train, dtype)
  statistics = {
    'norm1': {
      'mean': jnp.full(CHANNELS, 0.5),
      'var': jnp.linspace(1, 3, CHANNELS),
    }
  }

  def loss(params, x, extra):
    extra = [each.astype(dtype) for each in extra]
    pending = preactivation.Pending(*extra) if plus == 'pending' else None
    outputs, updates = layer.apply(
      {'params': params, 'batch_stats': statistics},
      x,
      pending or (extra[0] if extra else None),
      mutable=['batch_stats'],
    )
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert all(each.dtype == dtype for each in outputs)
    outputs = [each.astype(jnp.float32) for each in outputs]
    total = sum(
      (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum() for y in outputs
    )
    return total, (outputs, updates)

  return jax.grad(loss, (0, 1, 2), has_aux=True)(params, x, extra)


def _run(form, *settings):
  return jax.jit(functools.partial(_step, form, *settings))(*_inputs(form))


def _assert_equal(ours, theirs, tolerance):
  """Within `tolerance` of each array's largest value."""

  def check(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * abs(b).max())

  jax.tree.map(check, ours, theirs)


def _as_on_a_tpu(monkeypatch):
  monkeypatch.setattr(
    batch_norm.lax,
    'platform_dependent',
    lambda *operands, default, **others: others.get('tpu', default)(*operands),
  )


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('form', FORMS)
def test_equals_the_plain_composition(form, train, platform, monkeypatch):
  """The TPU's form too, which is run here on the CPU."""
  if platform == 'tpu':
    _as_on_a_tpu(monkeypatch)
  ours, theirs = (
    _run(form, is_plain, train, jnp.float32) for is_plain in (False, True)
  )
  _assert_equal(ours, theirs, 2e-5)


@pytest.mark.parametrize('form', FORMS)
def test_equals_the_plain_composition_in_bfloat16(form):
  """As near to the float32 numbers as bfloat16 comes, parameters float32."""
  ours = _run(form, False, True, jnp.bfloat16)
  theirs = _run(form, True, True, jnp.float32)
  ours_gradients, (ours_out, ours_stats) = ours
  theirs_gradients, (theirs_out, theirs_stats) = theirs
  _assert_equal(ours_out, theirs_out, 0.03)
  _assert_equal(ours_stats, theirs_stats, 0.01)
  _assert_equal(ours_gradients, theirs_gradients, 0.06)
  leaves = jax.tree.leaves((ours_stats, ours_gradients))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}


def test_a_shortcut_that_keeps_the_resolution_is_handed_on():
  """Finished later, it is what it would have been."""
  x = jax.random.normal(jax.random.key(0), (6, 4, 4, CHANNELS))
  ours, theirs = (
    Layer([(8, 1, 1), (32, 1, 1)], is_plain, False, jnp.float32)
    for is_plain in (False, True)
  )
  variables = ours.init(jax.random.key(1), x)
  y, shortcut = ours.apply(variables, x)
  assert isinstance(shortcut, preactivation.Pending)
  expected = theirs.apply(variables, x)
  _assert_equal((y, _finished(shortcut)), expected, 1e-5)


# The output, the gradient of the kernel and that of y.
@pytest.mark.parametrize(
  'form, count',
  [
    ('shrinks', 3 + 1),
    ('shrinks in two', 2 * (3 + 1)),
    ('3x3, strided', 3),
    ('grows', 3),
    ('grows, and is added to a pending shortcut', 3),
  ],
)
def test_a_tpu_computes_a_gradient_twice_only_where_it_is_larger(form, count):
  step = jax.jit(functools.partial(_step, form, False, True, jnp.float32))
  lowered = step.trace(*_inputs(form)).lower(lowering_platforms=('tpu',))
  assert lowered.as_text().count('stablehlo.convolution') == count

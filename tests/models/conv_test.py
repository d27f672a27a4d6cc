"""Each CPU form equals XLA's own convolution, which accelerators get."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import conv

# (height, width, k, stride, padding) -> the form it takes on the CPU.
FORMS = {
  (8, 8, 1, 2, 0): 'pointwise',
  (5, 7, 1, 2, 0): 'pointwise',
  (1, 1, 1, 1, 0): 'pointwise',
  (1, 1, 3, 1, 1): 'dense',
  (2, 2, 3, 1, 1): 'dense',
  (2, 4, 3, 2, 1): 'dense',
  (4, 4, 4, 4, 0): 'dense',
  (4, 4, 3, 2, 1): 'windows',
  (8, 8, 4, 4, 0): 'windows',
  (9, 8, 7, 2, 3): 'windows',
  (9, 9, 3, 2, 1): 'plain',
  (16, 16, 4, 4, 0): 'plain',
}
ONE_OF_EACH = {form: shape for shape, form in reversed(FORMS.items())}


def functions(shape):
  """(ours, XLA's) of (x, kernel)."""
  stride, padding = shape[3:]
  return (
    functools.partial(conv.conv2d, stride=stride, padding=padding),
    functools.partial(
      lax.conv_general_dilated,
      window_strides=(stride, stride),
      padding=[(padding, padding)] * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    ),
  )


def arguments(shape):
  height, width, k = shape[:3]
  rng = np.random.default_rng(0)
  x = rng.standard_normal((4, height, width, 5))
  return jnp.float32(x), jnp.float32(rng.standard_normal((k, k, 5, 6)))


def values_and_gradients(f):
  """(x, kernel) -> y and the gradients of a loss that weighs each of y."""

  def loss(x, kernel):
    y = f(x, kernel)
    weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32))
    return jnp.sum(y * weights.reshape(y.shape)), y

  def evaluate(x, kernel):
    gradients, y = jax.grad(loss, (0, 1), has_aux=True)(x, kernel)
    return y, *gradients

  return evaluate


def count_operations(evaluate, shape, platform):
  """How often each operation is in what is lowered for a platform."""
  traced = evaluate.trace(*arguments(shape))
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  names = 'convolution', 'dot_general', 'gather', 'concatenate'
  return [text.count(f'stablehlo.{name}') for name in names]


@pytest.mark.parametrize('shape', FORMS, ids=str)
def test_values_and_both_gradients_are_those_of_a_convolution(shape):
  """In the form that is claimed for the shape."""
  ours, xlas = (jax.jit(values_and_gradients(f)) for f in functions(shape))
  x, kernel = arguments(shape)
  for a, b in zip(ours(x, kernel), xlas(x, kernel), strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * abs(b).max())
  assert conv.form(*shape) == FORMS[shape]
  convolutions, products, *_ = count_operations(ours, shape, 'cpu')
  assert (convolutions > 0) == (FORMS[shape] == 'plain')
  if FORMS[shape] != 'plain':
    assert products == 3  # y and two gradients


@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
@pytest.mark.parametrize('shape', ONE_OF_EACH.values(), ids=FORMS.get)
def test_accelerators_get_plain_convolutions(shape, platform):
  """Lowered here, where the default platform is the CPU."""
  for f in functions(shape):
    evaluate = jax.jit(values_and_gradients(f))
    assert count_operations(evaluate, shape, platform) == [3, 0, 0, 0]


def test_module_pads_to_keep_the_grid_and_names_its_float32_kernel():
  x = jnp.ones((2, 8, 8, 3))
  module = conv.Conv(64, 3, dtype=jnp.bfloat16)
  y, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
  kernel = variables['params'].pop('kernel')
  assert not variables['params']
  assert (kernel.shape, kernel.dtype) == ((3, 3, 3, 64), jnp.float32)
  assert abs(kernel.std() / np.sqrt(2 / (9 * 64)) - 1) < 0.1  # He, fan-out
  assert (y.shape, y.dtype) == ((2, 8, 8, 64), jnp.bfloat16)

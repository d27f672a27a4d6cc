"""Convolution that is quick on a laptop too.

On TPU and GPU this is `lax.conv_general_dilated` and nothing else. XLA's CPU
backend is slow at two kinds of convolution: 1x1 kernels, whose gradients run
at 5 to 35 % of a matrix product's speed, and kernels larger than the grid they
slide over (3x3 on the 2x2 grid of a patch), at 4 %. Each becomes one product
(`form`); every other convolution stays plain on the CPU as well.
"""

import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


class Conv(nn.Module):
  """`conv2d` with a learned kernel and no bias."""

  features: int
  kernel_size: int
  stride: int = 1
  padding: int | None = None  # None: (kernel_size - 1) // 2.
  dtype: jnp.dtype = jnp.float32

  def __call__(self, x):
    kernel = self.weights(x.shape[-1])
    return conv2d(x.astype(self.dtype), kernel, **self.geometry)

  @nn.compact
  def weights(self, channels: int) -> jax.Array:
    """The kernel [k, k, channels, features], float32.

    It starts He-normal over its fan-out (He et al. 2015).
    """
    return self.param(
      'kernel',
      nn.initializers.variance_scaling(2.0, 'fan_out', 'truncated_normal'),
      (self.kernel_size, self.kernel_size, channels, self.features),
      jnp.float32,
    )

  @property
  def geometry(self) -> dict[str, int]:
    """Stride and padding, as `conv2d` takes them."""
    same = (self.kernel_size - 1) // 2
    padding = same if self.padding is None else self.padding
    return {'stride': self.stride, 'padding': padding}


def conv2d(x, kernel, *, stride=1, padding=0):
  """Convolves images with a square kernel.

  Reverse-mode differentiation only (`jax.grad`, `jax.vjp`).

  Args:
    x: [batch, height, width, in], float32 or bfloat16.
    kernel: [k, k, in, out]; cast to x's dtype.
    stride: int, the same along both axes.
    padding: int, zeros added on each of the four sides, as in PyTorch.

  Returns:
    [batch, (height + 2 * padding - k) // stride + 1, (width ...), out] in
    x's dtype.
  """
  return _conv2d(x, kernel.astype(x.dtype), stride, padding)


def form(height, width, k, stride, padding):
  """Names the form a convolution takes on the CPU, by its shape alone.

  Returns:
    'pointwise': 1x1, a product over the channels of every stride-th pixel.
    'dense': the kernel covers the grid, and one matrix takes every input
      to every output: at most k * k multiply-adds for each output.
    'windows': the kernel is larger than the output's grid, so the gradient
      would be slow; the pixels under each of its places are one row.
    'plain': `lax.conv_general_dilated`, fast enough.
  """
  out = (min(height, width) + 2 * padding - k) // stride + 1
  if k == 1 and padding == 0:
    return 'pointwise'
  if height * width <= k * k:
    return 'dense'
  if out < k:
    return 'windows'
  return 'plain'


# The gradient is written out so that differentiation never sees the choice of
# platform: through it, each branch's intermediates (nine-fold, in 'windows')
# would be kept for the backward pass, and here only x and the kernel are.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(x, kernel, stride, padding):
  ours, plain = _implementations(x, kernel, stride, padding)
  if ours is plain:
    return plain(x, kernel)
  return lax.platform_dependent(x, kernel, cpu=ours, default=plain)


def _forward(x, kernel, stride, padding):
  return _conv2d(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, residuals, gradient):
  def vjp(implementation):
    return lambda x, kernel, g: jax.vjp(implementation, x, kernel)[1](g)

  ours, plain = _implementations(*residuals, stride, padding)
  if ours is plain:
    return vjp(plain)(*residuals, gradient)
  return lax.platform_dependent(
    *residuals, gradient, cpu=vjp(ours), default=vjp(plain)
  )


_conv2d.defvjp(_forward, _backward)


def _implementations(x, kernel, stride, padding):
  """(CPU's form, plain form), functions of x and kernel."""
  plain = functools.partial(_plain, stride=stride, padding=padding)
  name = form(*x.shape[1:3], kernel.shape[0], stride, padding)
  if name == 'plain':
    return plain, plain
  forms = {'pointwise': _pointwise, 'dense': _dense, 'windows': _windows}
  ours = functools.partial(forms[name], stride=stride, padding=padding)
  return ours, plain


def _plain(x, kernel, stride, padding):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    ((padding, padding), (padding, padding)),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _pointwise(x, kernel, stride, padding):
  del padding  # Always 0.
  x = x[:, ::stride, ::stride]
  y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
  return y.reshape(*x.shape[:-1], -1)


def _windows(x, kernel, stride, padding):
  k, _, c_in, c_out = kernel.shape
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  n, height, width, _ = x.shape
  h, w = (height - k) // stride + 1, (width - k) // stride + 1
  down = [slice(i, i + stride * (h - 1) + 1, stride) for i in range(k)]
  along = [slice(j, j + stride * (w - 1) + 1, stride) for j in range(k)]
  x = jnp.concatenate([x[:, i, j] for i in down for j in along], -1)
  y = x.reshape(n * h * w, k * k * c_in) @ kernel.reshape(-1, c_out)
  return y.reshape(n, h, w, c_out)


def _dense(x, kernel, stride, padding):
  k, _, c_in, c_out = kernel.shape
  n, height, width, _ = x.shape

  def taps(size):  # [input, output]: the tap that joins them, or k for none.
    out = (size + 2 * padding - k) // stride + 1
    tap = np.arange(size)[:, None] + padding - stride * np.arange(out)
    return np.where((tap >= 0) & (tap < k), tap, k)

  rows, columns = taps(height), taps(width)
  h, w = rows.shape[1], columns.shape[1]
  kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
  # [height, width, h, w, in, out]
  matrix = kernel[rows[:, None, :, None], columns[None, :, None, :]]
  matrix = matrix.transpose(0, 1, 4, 2, 3, 5)
  matrix = matrix.reshape(height * width * c_in, h * w * c_out)
  y = x.reshape(n, height * width * c_in) @ matrix
  return y.reshape(n, h, w, c_out)

"""Convolution that is quick on a laptop too.

On TPU and GPU this is `lax.conv_general_dilated` and nothing else. XLA's CPU
convolutions run at a few per cent of the machine's speed on the tiny grids
of patches (2x2, 1x1) and in most gradients, so there a convolution becomes
one matrix product, in the form that its static shape asks for (`form`).
"""

import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


def conv2d(x, kernel, *, stride=1, padding=0):
  """Convolves NHWC images with a square HWIO kernel, padding with zeros.

  Args:
    x: [batch, height, width, in], float32 or bfloat16.
    kernel: [k, k, in, out]; cast to x's dtype.
    stride: int, the same for both axes.
    padding: int, zeros added on every side (as PyTorch's `padding`).

  Returns:
    [batch, out_height, out_width, out] in x's dtype, where
    out_height = (height + 2 * padding - k) // stride + 1.
  """
  return _conv(x, kernel.astype(x.dtype), stride, padding)


class Conv(nn.Module):
  """`conv2d` with a learned float32 `kernel` (He et al. 2015), no bias."""

  features: int
  kernel_size: int
  stride: int = 1
  padding: int | None = None  # None: (kernel_size - 1) // 2
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    k = self.kernel_size
    padding = (k - 1) // 2 if self.padding is None else self.padding
    kernel = self.param(
      'kernel',
      nn.initializers.variance_scaling(2.0, 'fan_out', 'truncated_normal'),
      (k, k, x.shape[-1], self.features),
      jnp.float32,
    )
    return conv2d(
      x.astype(self.dtype), kernel, stride=self.stride, padding=padding
    )


def form(x_shape, kernel_shape, stride, padding):
  """Names the CPU form of a convolution: a function of shapes alone."""
  k, height, width = kernel_shape[0], *x_shape[1:3]
  if k == 1 and padding == 0:
    return 'pointwise'
  if height * width <= k * k and padding:
    return 'dense'
  return 'unfold'


def _plain(x, kernel, stride, padding):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    ((padding, padding), (padding, padding)),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _unfold(x, kernel, stride, padding):
  """One product of every output's k*k*in inputs with the kernel."""
  k, _, c_in, c_out = kernel.shape
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  n, height, width, _ = x.shape
  h, w = (height - k) // stride + 1, (width - k) // stride + 1
  shifted = [
    x[:, i : i + stride * (h - 1) + 1 : stride,
      j : j + stride * (w - 1) + 1 : stride]
    for i in range(k)
    for j in range(k)
  ]
  rows = jnp.concatenate(shifted, -1).reshape(n * h * w, k * k * c_in)
  y = rows @ kernel.reshape(k * k * c_in, c_out)
  return y.reshape(n, h, w, c_out)


def _dense(x, kernel, stride, padding):
  """One product of the whole grid with the matrix the taps make."""
  k, _, c_in, c_out = kernel.shape
  n, height, width, _ = x.shape
  h = (height + 2 * padding - k) // stride + 1
  w = (width + 2 * padding - k) // stride + 1

  def taps(size, out_size):  # [size, out_size]: tap index or k for none
    t = (
      np.arange(size)[:, None] + padding - stride * np.arange(out_size)[None]
    )
    return np.where((t >= 0) & (t < k), t, k)

  kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
  rows, columns = taps(height, h), taps(width, w)
  matrix = kernel[rows[:, None, :, None], columns[None, :, None, :]]
  # [height, width, h, w, in, out] -> [height, width, in, h, w, out]
  matrix = matrix.transpose(0, 1, 4, 2, 3, 5)
  matrix = matrix.reshape(height * width * c_in, h * w * c_out)
  y = x.reshape(n, height * width * c_in) @ matrix
  return y.reshape(n, h, w, c_out)


def _pointwise(x, kernel, stride, padding):
  x = x[:, ::stride, ::stride]
  n, h, w, c = x.shape
  return (x.reshape(n*h*w, c) @ kernel[0, 0]).reshape(n, h, w, -1)

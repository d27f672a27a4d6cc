"""Norm, ReLU, convolution: the layer that pre-activation networks repeat.

He et al., "Identity Mappings in Deep Residual Networks" (2016).
"""

import functools

from flax import linen as nn
import jax

from selfie_jax.models import batch_norm
from selfie_jax.models import conv


def norm_relu_conv(
  x: jax.Array, norm: batch_norm.BatchNorm, *convs: conv.Conv
) -> tuple[jax.Array, ...]:
  """Computes y = relu(norm(x)), then conv(y) for each convolution.

  Where the convolutions put out no more numbers than they take, a TPU computes
  the gradient of y twice instead of writing it to memory and reading it again
  (BatchNorm.__call__); memory traffic is most of what such networks cost there
  (docs/performance.md). The numbers are the same.

  Args:
    x: [batch, height, width, channels].
    norm: a submodule of the caller, as the convolutions are.
    *convs: computed in the norm's dtype.

  Returns:
    The output of each convolution.
  """
  channels = x.shape[-1]
  kernels = tuple(each.weights(channels) for each in convs)
  relu_convs = functools.partial(
    _relu_convs, tuple(each.geometry for each in convs)
  )
  if _shrinks(channels, convs):
    return norm(x, relu_convs, kernels)
  return relu_convs(kernels, norm(x))


def _shrinks(channels: int, convs: tuple[conv.Conv, ...]) -> bool:
  """Whether 1x1 convolutions give no more numbers than they take."""
  out = sum(each.features / each.stride**2 for each in convs)
  return out <= channels and all(each.kernel_size == 1 for each in convs)


def _relu_convs(
  geometries: tuple[dict[str, int], ...],
  kernels: tuple[jax.Array, ...],
  y: jax.Array,
) -> tuple[jax.Array, ...]:
  y = nn.relu(y)
  return tuple(
    conv.conv2d(y, kernel, **geometry)
    for kernel, geometry in zip(kernels, geometries, strict=True)
  )

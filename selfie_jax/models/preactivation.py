"""Norm, ReLU, convolution: the layer that pre-activation networks repeat.

He et al., "Identity Mappings in Deep Residual Networks" (2016). What it does
beyond the plain composition saves a TPU memory traffic, which is most of what
such networks cost there (docs/performance.md); the numbers are the same.
"""

import functools
from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from selfie_jax.models import batch_norm
from selfie_jax.models import conv


class Pending(NamedTuple):
  """A 1x1 convolution that will be computed in the sum it is part of."""

  x: jax.Array
  kernel: jax.Array


def norm_relu_conv(
  x: jax.Array,
  norm: batch_norm.BatchNorm,
  *convs: conv.Conv,
  plus: jax.Array | Pending | None = None,
) -> Any:
  """Normalises, rectifies and convolves, once or several times.

  In plain words, y = nn.relu(norm(x)), then conv(y) + plus for one convolution
  and conv1(y), conv2(y) ... for several. Beyond that:

  - Where no more comes out than went in, the gradient of y is computed twice
    instead of written to memory and read again; see BatchNorm.__call__.
  - A shortcut that keeps the resolution and the convolution that it is added to
    become one product, which writes their sum once: the layer that has the
    shortcut hands it on as `Pending`, and the one that adds it takes it as
    `plus`.

  Args:
    x: [batch, height, width, channels].
    norm: a submodule of the caller, as the convolutions are.
    *convs: one or more, computed in the norm's dtype; those after the first are
      shortcuts.
    plus: added to the output of the only convolution, which is 1x1 with
      stride 1 if this is `Pending`.

  Returns:
    The convolution's output; of several, a tuple, with shortcuts `Pending`
    where that pays.
  """
  channels = x.shape[-1]
  kernels = tuple(each.weights(channels) for each in convs)
  geometries = tuple(each.geometry for each in convs)
  if isinstance(plus, Pending):
    y = jnp.concatenate([nn.relu(norm(x)), plus.x], axis=-1)
    (kernel,), (geometry,) = kernels, geometries
    kernel = jnp.concatenate([kernel, plus.kernel], axis=-2)
    return conv.conv2d(y, kernel, **geometry)
  if _shrinks(channels, convs):
    then = functools.partial(_relu_convs, geometries)
    first, *shortcuts = norm(x, then, kernels)
  else:
    y = nn.relu(norm(x))
    first = conv.conv2d(y, kernels[0], **geometries[0])
    shortcuts = [
      Pending(y, kernel)
      if each.kernel_size == each.stride == 1
      else conv.conv2d(y, kernel, **each.geometry)
      for kernel, each in zip(kernels[1:], convs[1:], strict=True)
    ]
  if shortcuts:
    return first, *shortcuts
  return first if plus is None else plus + first


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

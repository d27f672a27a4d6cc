"""Pre-activation bottleneck ResNets, and the patch network P.

P and the classifiers share the names stem, block1, block2, block3, so moving
P's weights into a classifier is a copy. He et al., "Identity Mappings in Deep
Residual Networks" (2016). Padding is explicit and symmetric as in their
networks, so that weights mean the same in other frameworks.
"""

import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from selfie_jax.models import batch_norm
from selfie_jax.models import conv
from selfie_jax.models import preactivation

EXPANSION = 4  # output channels of a bottleneck per channel of its 3x3
# (kernel size, stride, padding)
STEMS = {
  'conv3': (3, 1, 1),
  'conv7_pool': (7, 2, 3),
  'patch2': (2, 2, 0),
  'patch4': (4, 4, 0),
  'patch8': (8, 8, 0),
}


class Stem(nn.Module):
  """The first layer: images to `features` channels, no norm (pre-activation).

  conv3: 3x3, stride 1 (32 px). conv7_pool: 7x7, stride 2, then 3x3 max
  pooling, stride 2 (224 px). patch2, patch4, patch8: k x k with stride k, the
  cheap ones of the CPU recipes.
  """

  kind: str
  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    size, stride, padding = STEMS[self.kind]
    x = conv.Conv(
      self.features,
      size,
      stride=stride,
      padding=padding,
      dtype=self.dtype,
      name='conv',
    )(x)
    if self.kind == 'conv7_pool':
      x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    return x


class Bottleneck(nn.Module):
  """norm, ReLU, convolution (1x1, 3x3 with the stride, 1x1), and a shortcut.

  A projected shortcut begins after the first ReLU.
  """

  features: int  # channels of the 3x3; the output has four times as many
  stride: int
  norm: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, channels] to [n, h / stride, w / stride, 4 * features]."""
    norm, layer = self.norm, preactivation.norm_relu_conv
    out = self.features * EXPANSION
    conv1 = conv.Conv(self.features, 1, name='conv1')
    conv2 = conv.Conv(self.features, 3, self.stride, name='conv2')
    conv3 = conv.Conv(out, 1, name='conv3')
    if x.shape[-1] == out and self.stride == 1:
      shortcut = x
      (y,) = layer(x, norm(name='norm1'), conv1)
    else:
      projection = conv.Conv(out, 1, self.stride, name='shortcut')
      y, shortcut = layer(x, norm(name='norm1'), conv1, projection)
    (y,) = layer(y, norm(name='norm2'), conv2)
    (y,) = layer(y, norm(name='norm3'), conv3)
    return shortcut + y


class Block(nn.Module):
  """One stage: `depth` bottlenecks, the stride in the first."""

  depth: int
  features: int
  stride: int
  norm: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    for i in range(self.depth):
      stride = self.stride if i == 0 else 1
      x = Bottleneck(self.features, stride, self.norm, name=f'unit{i + 1}')(x)
    return x


class ResNet(nn.Module):
  """Stem and blocks, then norm and ReLU: the part that P and ResNet-50 share.

  Attributes:
    depths: bottlenecks of each block, (3, 4, 6) for P, (3, 4, 6, 3) for
      ResNet-50.
    width: channels of the stem and of block1's 3x3; doubles with each block.
    stem: one of STEMS.
    closing_norm: whether BatchNorm + ReLU follow the last block.
    norm_momentum: share of the old value in BatchNorm's running statistics.
    axis_name: pmap axis over which BatchNorm is synchronised, or None.
    dtype: compute type; parameters and statistics are float32.
  """

  depths: tuple[int, ...]
  width: int = 64
  stem: str = 'conv3'
  closing_norm: bool = True
  norm_momentum: float = 0.9
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Maps [batch, h, w, 3] to features [batch, h', w', dim] in `dtype`."""
    norm = functools.partial(
      batch_norm.BatchNorm,
      use_running_average=not train,
      momentum=self.norm_momentum,
      dtype=self.dtype,
      axis_name=self.axis_name,
    )
    x = images.astype(self.dtype)
    x = Stem(self.stem, self.width, self.dtype, name='stem')(x)
    for i, depth in enumerate(self.depths):
      stride = 1 if i == 0 else 2
      x = Block(depth, self.width * 2**i, stride, norm, name=f'block{i + 1}')(x)
    if self.closing_norm:
      x = nn.relu(norm(name=f'block{len(self.depths)}_norm')(x))
    return x


class PatchNetwork(ResNet):
  """P: the first three blocks of ResNet-50; one vector for every patch.

  Paper, section 3.1. Average pooling makes a vector of 16 * width channels
  (1024) of each patch; every patch goes through on its own.
  """

  depths: tuple[int, ...] = (3, 4, 6)

  @nn.compact
  def __call__(self, patches: jax.Array, train: bool) -> jax.Array:
    """Maps patches [n, size, size, 3] to vectors [n, dim]."""
    return super().__call__(patches, train).mean(axis=(1, 2))

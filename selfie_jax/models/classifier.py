"""The finetuning models: ResNet-50, and ResNet-36 + attention pooling."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from selfie_jax.models import attention
from selfie_jax.models import resnet


class ResNet50(resnet.ResNet):
  """ResNet-50 with a new head; block1 to block3 and the stem fit P's."""

  depths: tuple[int, ...] = (3, 4, 6, 3)
  num_classes: int = 10

  @nn.compact
  def __call__(
    self, images: jax.Array, train: bool, dropout_keys: jax.Array | None = None
  ) -> jax.Array:
    """Maps [batch, h, w, 3] to float32 logits [batch, classes].

    There is no dropout; `dropout_keys` is here so that both classifiers are
    called alike.
    """
    del dropout_keys
    x = super().__call__(images, train).mean(axis=(1, 2))
    return nn.Dense(self.num_classes, name='head')(x.astype(jnp.float32))


class ResNet36Attention(resnet.ResNet):
  """Stem and three blocks of ResNet-50, then A in place of the fourth.

  Paper, section 4.3 ("ResNet-36 + attention pooling"). All but the head has
  the names and shapes of the pretraining model.

  Attributes:
    attention_pooling: A.
    positions: embeddings of the patch grid, for models pretrained with
      positions on the context: added to all cells in a patch; None without.
    num_classes: outputs of the new head.
  """

  depths: tuple[int, ...] = (3, 4, 6)
  attention_pooling: attention.AttentionPooling | None = None
  positions: attention.PositionEmbedding | None = None
  num_classes: int = 10

  @nn.compact
  def __call__(
    self, images: jax.Array, train: bool, dropout_keys: jax.Array | None = None
  ) -> jax.Array:
    """Maps [batch, h, w, 3] to float32 logits [batch, classes]."""
    x = super().__call__(images, train)
    b, rows, columns, dim = x.shape
    if self.positions is not None:
      # A patch covers several places of the feature map; all get its position.
      grid = self.positions.grid
      places = self.positions(dim).reshape(1, grid, grid, dim)
      x += jax.image.resize(places, (1, rows, columns, dim), 'nearest').astype(
        x.dtype
      )
    x = attention.per_example(
      self.attention_pooling, dropout_keys, x.reshape(b, rows * columns, dim)
    )
    return nn.Dense(self.num_classes, name='head')(x.astype(jnp.float32))

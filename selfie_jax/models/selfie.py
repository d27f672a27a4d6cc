"""The pretraining model: pick the right patch for every masked position.

Trinh, Luong, Le, "Selfie: Self-supervised Pretraining for Image Embedding"
(2019), section 3.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from selfie_jax.models import attention
from selfie_jax.models import resnet

LOGIT_SCALES = ('none', 'inverse_sqrt')


class Selfie(nn.Module):
  """P, A, the query and its logits.

  Attributes:
    patch_network: P.
    attention_pooling: A.
    positions: embeddings of the positions of the patch grid.
    context_positions: whether the context's vectors get them too, before A.
    logit_scale: 'none', or 'inverse_sqrt' to divide the logits by sqrt(dim).
  """

  patch_network: resnet.PatchNetwork
  attention_pooling: attention.AttentionPooling
  positions: attention.PositionEmbedding
  context_positions: bool = False
  logit_scale: str = 'none'

  def __call__(
    self,
    patches: jax.Array,
    context: jax.Array,
    targets: jax.Array,
    train: bool,
    dropout_keys: jax.Array | None = None,
  ) -> jax.Array:
    """Scores every target patch for every masked position of its own image.

    Args:
      patches: [batch, patches, size, size, 3], normalised.
      context: numbers of the visible patches [batch, patches - targets].
      targets: numbers of the masked patches [batch, targets].
      train: batch statistics in P if True, running ones if False.
      dropout_keys: keys [batch], or None for no dropout in A.

    Returns:
      float32 logits [batch, targets, targets]; row i is the position of target
      i, column j the patch that target j is. The right answer is the diagonal.
    """
    # P embeds every patch on its own.
    h = self._embed(patches, train)  # [batch, patches, dim]
    position = self.positions(h.shape[-1]).astype(h.dtype)  # [patches, dim]

    # The context, and the masked patches to choose from.
    visible = jnp.take_along_axis(h, context[..., None], axis=1)
    masked = jnp.take_along_axis(h, targets[..., None], axis=1)
    if self.context_positions:
      visible += position[context]

    # A sums the context up, once for all masked positions of the image.
    u = attention.per_example(self.attention_pooling, dropout_keys, visible)

    # The summary plus a masked position is the query for the patch there.
    query = u[:, None] + position[targets]  # [batch, targets, dim]

    # Its dot product with every masked patch of the same image is the logit.
    logits = jnp.einsum(
      'bid,bjd->bij', query, masked, preferred_element_type=jnp.float32
    )
    if self.logit_scale == 'inverse_sqrt':
      logits /= h.shape[-1] ** 0.5
    return logits

  def summarise(self, patches: jax.Array) -> jax.Array:
    """A's summary of a whole image, from all of its patches.

    Nothing is masked here; at evaluation, as in training, A sees the context
    alone. BatchNorm uses its running statistics, and dropout is off.

    Args:
      patches: [batch, patches, size, size, 3], normalised.

    Returns:
      [batch, dim].
    """
    h = self._embed(patches, train=False)
    if self.context_positions:
      h += self.positions(h.shape[-1]).astype(h.dtype)
    return self.attention_pooling(h)

  def _embed(self, patches: jax.Array, train: bool) -> jax.Array:
    """P's vector of every patch: [batch, patches, dim]."""
    b, n = patches.shape[:2]
    h = self.patch_network(patches.reshape((b * n,) + patches.shape[2:]), train)
    return h.reshape(b, n, -1)

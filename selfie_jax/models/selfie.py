"""The pretraining model: pick the right patch for every hole of an image.

Trinh, Luong, Le, "Selfie: Self-supervised Pretraining for Image Embedding"
(2019), section 3.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from selfie_jax.models import attention_pooling
from selfie_jax.models import resnet

LOGIT_SCALES = ('none', 'inverse_sqrt')
QUERIES = ('sum', 'attend')


class Selfie(nn.Module):
  """P, A, the query and its logits.

  Attributes:
    patch_network: P.
    attention_pooling: A.
    positions: embeddings of the places of the patch grid.
    context_positions: whether the context's vectors get them too, before A.
    logit_scale: 'none', or 'inverse_sqrt' to divide the logits by sqrt(dim).
    query_layer: None, the paper's query u + e(place); or a layer in which that
      sum attends to the visible patches with their positions, and whose output
      is added. Of the paper's logits (u + e_i) h_j only e_i h_j tells the holes
      of an image apart, and the context has no part in it.
  """

  patch_network: resnet.PatchNetwork
  attention_pooling: attention_pooling.AttentionPooling
  positions: attention_pooling.PositionEmbedding
  context_positions: bool = False
  logit_scale: str = 'none'
  query_layer: attention_pooling.TransformerLayer | None = None

  def __call__(
    self,
    patches: jax.Array,
    context: jax.Array,
    targets: jax.Array,
    train: bool,
    dropout_keys: jax.Array | None = None,
    group: int = 1,
  ) -> jax.Array:
    """Scores every target patch for every hole of its own image.

    Args:
      patches: [batch, patches, size, size, 3], normalised.
      context: numbers of the visible patches [batch, patches - targets].
      targets: numbers of the masked patches [batch, targets].
      train: batch statistics in P if True, running ones if False.
      dropout_keys: keys [batch], or None for no dropout in A.
      group: so many consecutive images are one puzzle: the targets of each
        are scored for the holes of all. A divisor of batch.

    Returns:
      float32 logits [batch, targets, targets]; row i is the place of target i,
      column j the patch that target j is. The right answer is the diagonal.
      [batch / group, group * targets, group * targets] of groups.
    """
    b, m = targets.shape
    h = self._embed(patches, train)
    places = self.positions(h.shape[-1]).astype(h.dtype)  # [patches, dim]

    visible = jnp.take_along_axis(h, context[..., None], axis=1)
    pooled = visible + places[context] if self.context_positions else visible
    u = attention_pooling.per_example(
      self.attention_pooling, dropout_keys, pooled
    )
    query = u[:, None] + places[targets]  # [batch, targets, dim]
    if self.query_layer is not None:
      placed = visible + places[context]
      query += attention_pooling.per_example(
        self.query_layer, dropout_keys, query, placed
      )

    masked = jnp.take_along_axis(h, targets[..., None], axis=1)
    query, masked = (
      x.reshape(b // group, group * m, -1) for x in (query, masked)
    )
    logits = jnp.einsum(
      'bid,bjd->bij', query, masked, preferred_element_type=jnp.float32
    )
    if self.logit_scale == 'inverse_sqrt':
      logits /= h.shape[-1] ** 0.5
    return logits

  def summarise(self, patches: jax.Array) -> jax.Array:
    """A's summary of all patches, none masked, as at evaluation.

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

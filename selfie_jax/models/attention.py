"""Attention pooling A: Transformer layers that pool a set of vectors to one.

Paper, section 3.2: a learned vector u0 goes in front of the patch vectors; its
output of the last layer is the summary u.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

POSITIONS = ('flat', 'row_column')


class Dropout(nn.Module):
  """flax.linen.Dropout, bit for bit, with the mask drawn once.

  Otherwise the TPU compiler draws it again for every use in the backward pass,
  which was a quarter of A's cost (docs/performance.md).
  """

  rate: float
  deterministic: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    if self.deterministic or not self.rate:
      return x
    key = self.make_rng('dropout')
    keep = jax.random.bernoulli(key, 1 - self.rate, x.shape)
    keep = jax.lax.optimization_barrier(keep)
    return jnp.where(keep, x / (1 - self.rate), jnp.zeros_like(x))


class TransformerLayer(nn.Module):
  """As in BERT: attention, then two dense layers (GELU by tanh).

  Each with a residual and then LayerNorm (epsilon 1e-6).
  """

  num_heads: int
  hidden: int  # width of the first dense layer
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, memory: jax.Array, deterministic: bool
  ) -> jax.Array:
    """Maps the vectors x [..., n, dim], which attend to those of memory."""
    drop = Dropout(self.dropout, deterministic)
    y = nn.MultiHeadDotProductAttention(
      self.num_heads,
      dtype=self.dtype,
      dropout_rate=self.dropout,
      broadcast_dropout=False,
      deterministic=deterministic,
      name='attention',
    )(x, memory)
    x = nn.LayerNorm(dtype=self.dtype, name='attention_norm')(x + drop(y))
    y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype, name='dense1')(x))
    y = nn.Dense(x.shape[-1], dtype=self.dtype, name='dense2')(y)
    return nn.LayerNorm(dtype=self.dtype, name='dense_norm')(x + drop(y))


class AttentionPooling(nn.Module):
  """A: (u0, h_1 ... h_n) through Transformer layers; the first output.

  Attributes:
    num_layers, num_heads, hidden: 3, 32 and 640 in the paper's size.
    dropout: rate, on attention weights and on each sub-layer's output.
    dtype: compute type; parameters are float32.
  """

  num_layers: int = 3
  num_heads: int = 32
  hidden: int = 640
  dropout: float = 0.1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h: jax.Array, deterministic: bool = True) -> jax.Array:
    """Pools vectors [..., n, dim] to [..., dim]."""
    dim = h.shape[-1]
    u0 = self.param('u0', nn.initializers.normal(0.02), (dim,))
    u0 = jnp.broadcast_to(u0, h.shape[:-2] + (1, dim))
    x = jnp.concatenate([u0.astype(h.dtype), h], axis=-2)  # [..., 1 + n, dim]
    for i in range(self.num_layers):
      layer = TransformerLayer(
        self.num_heads,
        self.hidden,
        self.dropout,
        self.dtype,
        name=f'layer{i + 1}',
      )
      # Only the first output of the last layer is used.
      queries = x[..., :1, :] if i == self.num_layers - 1 else x
      x = layer(queries, x, deterministic)
    return x[..., 0, :]


def per_example(
  layer: nn.Module, dropout_keys: jax.Array | None, *inputs: jax.Array
) -> jax.Array:
  """A layer over a batch, in which each example has a key of its own.

  A key for every example, not one for the batch, makes the dropout of an image
  independent of the number of devices that the batch is spread over.

  Args:
    layer: AttentionPooling or TransformerLayer, a submodule of the caller.
    dropout_keys: keys [batch], or None for no dropout.
    *inputs: what the layer takes, [batch, ...] each.
  """
  if dropout_keys is None:
    return layer(*inputs, deterministic=True)
  module, variables = layer.unbind()
  return jax.vmap(
    lambda key, *example: module.apply(
      variables, *example, deterministic=False, rngs={'dropout': key}
    )
  )(dropout_keys, *inputs)


class PositionEmbedding(nn.Module):
  """Learned vectors for the positions of a square grid.

  flat: one for each position (paper, 32 px). row_column: a row's plus a
  column's (paper, 224 px).
  """

  kind: str
  grid: int

  @nn.compact
  def __call__(self, dim: int) -> jax.Array:
    """Returns the vectors [grid * grid, dim], float32, row by row."""
    init = nn.initializers.normal(0.02)
    if self.kind == 'flat':
      return self.param('places', init, (self.grid**2, dim))
    rows = self.param('rows', init, (self.grid, dim))
    columns = self.param('columns', init, (self.grid, dim))
    return (rows[:, None] + columns[None]).reshape(self.grid**2, dim)

"""Attention pooling: its size, u0, positions, and dropout per example."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import attention


@pytest.fixture(scope='module')
def small():
  """Two layers, their variables, and two examples of five vectors each."""
  pooling = attention.AttentionPooling(num_layers=2, num_heads=4, hidden=8)
  h = jax.random.normal(jax.random.key(1), (2, 5, 16))
  return pooling, jax.jit(pooling.init)(jax.random.key(0), h), h


def test_u0_is_learned_not_a_fixed_zero(small):
  pooling, variables, h = small
  assert jnp.abs(variables['params']['u0']).max() > 0
  loss = jax.jit(jax.grad(lambda v: pooling.apply(v, h).std()))
  assert jnp.abs(loss(variables)['params']['u0']).max() > 0


def test_a_set_has_no_order(small):
  pooling, variables, h = small
  apply = jax.jit(pooling.apply)
  np.testing.assert_allclose(
    apply(variables, h), apply(variables, h[:, ::-1]), atol=1e-5
  )


def test_last_layer_computes_the_first_output_of_all(small):
  """Leaving the others out must not change it."""
  pooling, variables, h = small
  layer = attention.TransformerLayer(4, 8, 0.1, jnp.float32)

  @jax.jit
  def whole(params):
    x = jnp.concatenate([jnp.tile(params['u0'], (2, 1, 1)), h], axis=1)
    for name in ('layer1', 'layer2'):
      x = layer.apply({'params': params[name]}, x, x, True)
    return x[:, 0]

  np.testing.assert_allclose(
    jax.jit(pooling.apply)(variables, h), whole(variables['params']), atol=1e-5
  )


class Holder(nn.Module):
  """A model with A in it, as the real ones have."""

  pooling: attention.AttentionPooling

  def __call__(self, h, dropout_keys=None):
    return attention.per_example(self.pooling, dropout_keys, h)


def test_dropout_follows_the_examples_key_and_not_the_batch(small):
  pooling, variables, h = small
  h = jnp.tile(h[:1], (4, 1, 1))
  variables = {'params': {'pooling': variables['params']}}
  apply = jax.jit(Holder(pooling).apply)
  keys = jax.random.split(jax.random.key(2), 4)
  out = apply(variables, h, keys)
  assert not np.allclose(out[0], out[1])  # same vectors, other keys
  np.testing.assert_allclose(
    apply(variables, h[2:], keys[2:]), out[2:], atol=1e-5
  )
  np.testing.assert_array_equal(*[apply(variables, h) for _ in range(2)])


def test_positions_are_one_vector_a_place_or_sums_of_row_and_column():
  flat = attention.PositionEmbedding('flat', 4)
  places, variables = flat.init_with_output(jax.random.key(0), 16)
  np.testing.assert_array_equal(places, variables['params']['places'])
  assert places.shape == (16, 16)
  sums = attention.PositionEmbedding('row_column', 7)
  places, variables = sums.init_with_output(jax.random.key(0), 16)
  params = variables['params']
  assert params['rows'].shape == params['columns'].shape == (7, 16)
  np.testing.assert_allclose(
    places[3 * 7 + 5], params['rows'][3] + params['columns'][5]
  )


def test_dropout_is_flax_dropout():
  x = jax.random.normal(jax.random.key(0), (13, 64))
  rngs = {'dropout': jax.random.key(1)}
  ours = attention.Dropout(0.1, False).apply({}, x, rngs=rngs)
  theirs = nn.Dropout(0.1, deterministic=False).apply({}, x, rngs=rngs)
  assert 0 < (ours == 0).mean() < 0.2
  np.testing.assert_array_equal(ours, theirs)
  for same in (attention.Dropout(0.1, True), attention.Dropout(0.0, False)):
    np.testing.assert_array_equal(same.apply({}, x, rngs=rngs), x)

"""The same numbers as flax.linen.BatchNorm: values, gradients, statistics."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from selfie_jax.models import batch_norm


def test_training_equals_flax():
  """Synchronised over two devices; preactivation_test.py has the others."""
  shape = (2, 6, 4, 4, 8)
  x = jax.random.normal(jax.random.key(0), shape) * 2 + 1
  weights = jax.random.normal(jax.random.key(1), shape)
  params = {'scale': jnp.linspace(0.5, 2, 8), 'bias': jnp.arange(8.0)}
  stats = {'mean': jnp.ones(8) / 2, 'var': jnp.linspace(1, 3, 8)}

  def run(kind):
    module = kind(
      use_running_average=False, momentum=0.9, epsilon=1e-5, axis_name='batch'
    )

    def loss(params, x, weights):
      variables = {'params': params, 'batch_stats': stats}
      y, updates = module.apply(variables, x, mutable=['batch_stats'])
      return (jnp.sin(y) * weights).sum(), (y, updates)

    step = jax.value_and_grad(loss, (0, 1), has_aux=True)
    return jax.pmap(step, 'batch', in_axes=(None, 0, 0))(params, x, weights)

  close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4)
  jax.tree.map(close, run(batch_norm.BatchNorm), run(nn.BatchNorm))


def test_bfloat16_keeps_statistics_in_float32():
  x = 100 + jax.random.normal(jax.random.key(0), (4096, 8))
  module = batch_norm.BatchNorm(
    use_running_average=False, momentum=0.0, dtype=jnp.bfloat16
  )
  y, variables = module.init_with_output(jax.random.key(0), x)
  y, updates = module.apply(variables, x, mutable=['batch_stats'])
  seen = x.astype(jnp.bfloat16).astype(jnp.float32)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    updates['batch_stats']['mean'], seen.mean(axis=0), rtol=1e-5
  )

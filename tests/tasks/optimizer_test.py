"""The optimiser is the paper's: checked against SGD written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selfie_jax.tasks import optimizer


def test_warm_up_then_cosine_to_zero(pretrain_config):
  pretrain_config.total_steps = 1100
  pretrain_config.optimizer.warmup_steps = 100
  pretrain_config.optimizer.learning_rate = 0.2
  rate = optimizer.schedule(pretrain_config)
  np.testing.assert_allclose(
    [rate(s) for s in (0, 50, 100, 600, 1100)], [0, 0.1, 0.2, 0.1, 0], atol=1e-6
  )


def test_no_warm_up_starts_at_the_peak(pretrain_config):
  pretrain_config.optimizer.warmup_steps = 0
  assert optimizer.schedule(pretrain_config)(0) == pytest.approx(0.1)


@pytest.mark.parametrize('everything', [False, True])
def test_nesterov_with_decay_before_the_momentum(pretrain_config, everything):
  config = pretrain_config
  config.optimizer.warmup_steps = 0
  config.optimizer.weight_decay = 0.01
  config.optimizer.decay_norms_and_biases = everything
  config.total_steps = 10**6  # a constant rate, as good as
  tx = optimizer.create(config)
  params = {'kernel': jnp.full((1, 1), 2.0), 'bias': jnp.full((1,), 2.0)}
  state = tx.init(params)
  expected = {'kernel': 2.0, 'bias': 2.0}
  velocity = {'kernel': 0.0, 'bias': 0.0}
  for gradient in (1.0, -0.5, 0.25):
    updates, state = tx.update(
      {k: jnp.full_like(v, gradient) for k, v in params.items()}, state, params
    )
    params = optax.apply_updates(params, updates)
    for name in expected:
      decay = 0.01 if name == 'kernel' or everything else 0.0
      g = gradient + decay * expected[name]
      velocity[name] = 0.9 * velocity[name] + g
      expected[name] -= 0.1 * (g + 0.9 * velocity[name])
  for name in expected:
    np.testing.assert_allclose(
      params[name].ravel()[0], expected[name], rtol=1e-5
    )


@pytest.mark.parametrize('most', [0, 1, 2])
def test_nonfinite_gradients_are_left_out_as_optax_does(pretrain_config, most):
  """The same updates and the same state, whatever comes in a row."""
  config = pretrain_config
  config.optimizer.skip_nonfinite = most
  ours = optimizer.create(config)
  config.optimizer.skip_nonfinite = 0
  inner = optax.chain(
    optax.add_decayed_weights(1e-4),
    optax.sgd(optimizer.schedule(config), 0.9, nesterov=True),
  )
  theirs = optax.apply_if_finite(inner, most)
  params = {'kernel': jnp.full((2, 2), 2.0)}
  states = [tx.init(params) for tx in (ours, theirs)]
  for value in (1.0, jnp.nan, 2.0, jnp.inf, jnp.nan, 3.0):
    gradients = {'kernel': jnp.array([[1.0, value], [0.5, -1.0]])}
    (u1, states[0]), (u2, states[1]) = [
      tx.update(gradients, state, params)
      for tx, state in zip((ours, theirs), states, strict=True)
    ]
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-6), u1, u2
    )
    for name in ('notfinite_count', 'last_finite', 'total_notfinite'):
      assert getattr(states[0], name) == getattr(states[1], name), (name, value)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-6),
      jax.tree.leaves(states[0].inner_state),
      jax.tree.leaves(states[1].inner_state),
    )

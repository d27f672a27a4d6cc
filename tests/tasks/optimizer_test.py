"""The optimiser is the paper's: checked against SGD written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selfie_jax.tasks import finetune
from selfie_jax.tasks import optimizer
from selfie_jax.tasks import pretrain


def test_warm_up_then_cosine_to_zero(pretrain_config):
  pretrain_config.total_steps = 1100
  pretrain_config.optimizer.warmup_steps = 100
  pretrain_config.optimizer.learning_rate = 0.2
  rate = optimizer.schedule(pretrain_config)
  np.testing.assert_allclose(
    [rate(s) for s in (0, 50, 100, 600, 1100)], [0, 0.1, 0.2, 0.1, 0], atol=1e-6
  )
  pretrain_config.optimizer.warmup_steps = 0
  assert optimizer.schedule(pretrain_config)(0) == pytest.approx(0.2)


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
    gradients = {k: jnp.full_like(v, gradient) for k, v in params.items()}
    updates, state = tx.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
    for name in expected:
      decay = 0.01 if name == 'kernel' or everything else 0.0
      g = gradient + decay * expected[name]
      velocity[name] = 0.9 * velocity[name] + g
      expected[name] -= 0.1 * (g + 0.9 * velocity[name])
  for name, value in expected.items():
    np.testing.assert_allclose(params[name], value, rtol=1e-5)


@pytest.mark.parametrize(
  'network, decayed, others',
  [
    ('selfie', {'places'}, {'u0'}),
    ('resnet50', set(), set()),
    ('resnet36_attention', {'rows', 'columns'}, {'u0'}),
  ],
)
def test_kernels_and_position_tables_decay_and_nothing_else(
  pretrain_config, finetune_config, network, decayed, others
):
  """With no gradient, what moves is what decays; on the trees that train."""
  task, config = finetune, finetune_config
  if network == 'selfie':
    task, config = pretrain, pretrain_config
  config.model.name = network
  config.model.positions = 'row_column' if 'rows' in decayed else 'flat'
  config.model.context_positions = True
  config.optimizer.warmup_steps = 0
  shapes = jax.eval_shape(lambda: task.create_state(config, 10)).params
  params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
  tx = optimizer.create(config)
  none = jax.tree.map(np.zeros_like, params)
  updates, _ = tx.update(none, tx.init(params), params)
  names = {True: set(), False: set()}
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    assert (update != 0).all() or (update == 0).all()
    names[bool((update != 0).any())].add(path[-1].key)
  decayed, others = {'kernel'} | decayed, {'scale', 'bias'} | others
  assert names == {True: decayed, False: others}

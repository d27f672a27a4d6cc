"""The pretraining task: its steps, masks and scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state


def test_chance_is_where_an_untrained_model_stands(
  pretrain_config, batch, shard
):
  state = pretrain.create_state(pretrain_config, 10)
  step = jax.pmap(
    functools.partial(pretrain.eval_step, config=pretrain_config),
    train_state.AXIS,
    in_axes=(None, 0),
    out_axes=None,
  )
  sums = step(state, shard(batch, 2))
  assert sums['chance'] / sums['count'] == 0.25
  assert 0.05 < sums['patch_accuracy'] / sums['count'] < 0.45


def test_score_is_cross_entropy_over_the_images_own_targets():
  logits = jnp.zeros((1, 4, 4)).at[0, 0, 0].set(100.0).at[0, 1, 2].set(100.0)
  scores = pretrain._score(logits)
  # Right for sure, wrong for sure, and twice a guess among four.
  np.testing.assert_allclose(
    scores['loss'], [(0 + 100 + 2 * np.log(4)) / 4], rtol=1e-5
  )
  # Of equal logits argmax takes the first, which is never right here.
  np.testing.assert_allclose(scores['patch_accuracy'], [1 / 4])


def masks(config, batch, step, seed=0):
  keys = train_state.example_keys(seed, step, batch['index'])
  return np.asarray(pretrain._mask(config, batch['image'], keys)[2])


def test_masks_differ_between_images_steps_and_seeds(pretrain_config, batch):
  first = masks(pretrain_config, batch, 0)
  assert len({tuple(row) for row in first.tolist()}) > 12
  assert (first != masks(pretrain_config, batch, 1)).any(axis=1).mean() > 0.8
  assert (first != masks(pretrain_config, batch, 0, 1)).any(axis=1).mean() > 0.8


def test_evaluation_masks_are_fixed_for_an_image(pretrain_config, batch):
  state = pretrain.create_state(pretrain_config, 10)

  def targets(state, batch):
    predict = functools.partial(pretrain.predict, config=pretrain_config)
    return jax.jit(predict)(state, batch)[2]

  first = targets(state, batch)
  pretrain_config.seed = 5
  half = jax.tree.map(lambda x: x[8:], batch)
  np.testing.assert_array_equal(
    targets(state.replace(step=100), half), first[8:]
  )


def run(module, config, state, batch, shard, devices, steps=3):
  step = jax.pmap(
    functools.partial(module.train_step, config=config),
    train_state.AXIS,
    in_axes=(None, 0),
    out_axes=None,
    devices=jax.devices()[:devices],
  )
  rows = []
  for _ in range(steps):
    state, metrics = step(state, shard(batch, devices))
    rows.append(jax.device_get(metrics))
  return state, rows


@pytest.mark.parametrize('sync', [True, False])
def test_two_devices_give_the_losses_of_one(
  pretrain_config, batch, shard, sync
):
  """With BatchNorm synchronised; local statistics are known to differ."""
  pretrain_config.model.sync_batch_norm = sync
  state = pretrain.create_state(pretrain_config, 10)
  _, one = run(pretrain, pretrain_config, state, batch, shard, 1)
  _, two = run(pretrain, pretrain_config, state, batch, shard, 2)
  close = [
    np.allclose(a[name], b[name], rtol=1e-3)
    for a, b in zip(one, two, strict=True)
    for name in ('loss', 'gradient_norm')
  ]
  assert all(close) == sync


def test_steps_learn_where_a_patch_belongs(pretrain_config, batch, shard):
  """Colour tells the place here, so the puzzle can be solved in no time."""
  pretrain_config.optimizer.warmup_steps = 0
  pretrain_config.total_steps = 1000
  pretrain_config.model.logit_scale = 'inverse_sqrt'
  y, x = np.mgrid[:32, :32] // 8 * 80
  batch['image'][:] = np.stack([x, y, 128 + 0 * x], axis=-1)
  state = pretrain.create_state(pretrain_config, 10)
  _, rows = run(pretrain, pretrain_config, state, batch, shard, 1, 60)
  accuracy = [row['patch_accuracy'] for row in rows]
  assert np.mean(accuracy[-5:]) > 0.6 > 0.45 > np.mean(accuracy[:5])


def test_bfloat16_step_is_near_the_float32_step(pretrain_config, batch, shard):
  pretrain_config.model.context_positions = True
  pretrain_config.model.logit_scale = 'inverse_sqrt'
  losses = {}
  for dtype in ('float32', 'bfloat16'):
    pretrain_config.dtype = dtype
    state = pretrain.create_state(pretrain_config, 10)
    state, rows = run(
      pretrain, pretrain_config, state, batch, shard, 1, steps=1
    )
    losses[dtype] = rows[0]['loss']
    kinds = {
      x.dtype for x in jax.tree.leaves((state.params, state.batch_stats))
    }
    assert kinds == {jnp.dtype('float32')}
  assert losses['bfloat16'] == pytest.approx(losses['float32'], rel=0.05)
  assert losses['bfloat16'] != losses['float32']

"""The pretraining task: its steps, masks and scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_jobs

from configs import digits_pretrain
from selfie_jax.data import batches as batches_lib
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state


@pytest.fixture(scope='module')
def config():
  """With all that a step can do; the rate does not change in a few steps."""
  config = digits_pretrain.get_config('tiny')
  config.model.context_positions = True
  config.model.logit_scale = 'inverse_sqrt'
  config.optimizer.warmup_steps = 0
  config.total_steps = 1000
  return config


@pytest.fixture(scope='module')
def state(config):
  return pretrain.create_state(config, 10)


@pytest.fixture(scope='module')
def step_on_one(config):
  return small_jobs.compile_step(pretrain.train_step, config, 1)


def run(step, state, batch, steps=3):
  """The state after some steps on a batch, and the metrics of each."""
  rows = []
  for _ in range(steps):
    state, metrics = step(state, batch)
    rows.append(jax.device_get(metrics))
  return state, rows


def test_chance_is_where_an_untrained_model_stands(config, state, batch):
  sums = small_jobs.compile_step(pretrain.eval_step, config, 2)(
    state, batches_lib.shard(batch, 2)
  )
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


def test_masks_differ_between_images_steps_and_seeds(config, batch):
  def masks(seed, step):
    keys = train_state.example_keys(seed, step, batch['index'])
    return np.asarray(pretrain._mask(config, batch['image'], keys)[2])

  first = masks(0, 0)
  assert len({tuple(row) for row in first.tolist()}) > 12
  assert (first != masks(0, 1)).any(axis=1).mean() > 0.8
  assert (first != masks(1, 0)).any(axis=1).mean() > 0.8


def test_evaluation_masks_are_fixed_for_an_image(config, state, batch):
  def targets(seed, step, batch):
    other = config.copy_and_resolve_references()
    other.seed = seed
    predict = functools.partial(pretrain.predict, config=other)
    return jax.jit(predict)(state.replace(step=step), batch)[2]

  half = jax.tree.map(lambda x: x[8:], batch)
  np.testing.assert_array_equal(targets(5, 100, half), targets(0, 0, batch)[8:])


def test_two_devices_give_the_losses_of_one(config, state, step_on_one, batch):
  """With BatchNorm synchronised; local statistics: models/batch_norm_test."""
  _, one = run(step_on_one, state, batches_lib.shard(batch, 1))
  on_two = small_jobs.compile_step(pretrain.train_step, config, 2)
  _, two = run(on_two, state, batches_lib.shard(batch, 2))
  for a, b in zip(one, two, strict=True):
    for name in ('loss', 'gradient_norm'):
      np.testing.assert_allclose(a[name], b[name], rtol=1e-3)


def test_steps_learn_where_a_patch_belongs(state, step_on_one, batch):
  """Colour tells the place here, so the puzzle can be solved in no time."""
  y, x = np.mgrid[:32, :32] // 8 * 80
  batch['image'][:] = np.stack([x, y, 128 + 0 * x], axis=-1)
  _, rows = run(step_on_one, state, batches_lib.shard(batch, 1), 60)
  accuracy = [row['patch_accuracy'] for row in rows]
  assert np.mean(accuracy[-5:]) > 0.6 > 0.45 > np.mean(accuracy[:5])


def test_bfloat16_step_is_near_float32_step(config, state, step_on_one, batch):
  half = config.copy_and_resolve_references()
  half.dtype = 'bfloat16'
  step_in_half = small_jobs.compile_step(pretrain.train_step, half, 1)
  losses = []
  for step in (step_on_one, step_in_half):
    after, (metrics,) = run(step, state, batches_lib.shard(batch, 1), 1)
    losses.append(metrics['loss'])
    leaves = jax.tree.leaves((after.params, after.batch_stats))
    assert {x.dtype for x in leaves} == {jnp.dtype('float32')}
  assert losses[1] == pytest.approx(losses[0], rel=0.05)
  assert losses[1] != losses[0]

"""The pretraining task: its steps, masks and scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import patches
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
  return np.asarray(pretrain._puzzle(config, batch['image'], keys)[2])


def test_masks_differ_between_images_steps_and_seeds(pretrain_config, batch):
  first = masks(pretrain_config, batch, 0)
  assert len({tuple(row) for row in first.tolist()}) > 12
  assert (first != masks(pretrain_config, batch, 1)).any(axis=1).mean() > 0.8
  assert (first != masks(pretrain_config, batch, 0, 1)).any(axis=1).mean() > 0.8


def test_evaluation_masks_are_fixed_for_an_image(pretrain_config, batch):
  state = pretrain.create_state(pretrain_config, 10)

  def targets(state, batch):
    solve = jax.jit(functools.partial(pretrain.solve, config=pretrain_config))
    return solve(state, batch)[2]

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


HARDER = {
  'gap': 2,
  'colour_factor': 0.4,
  'colour_shift': 0.2,
  'greyscale': 0.5,
  'group': 4,
}


def test_a_harder_puzzle_is_the_same_on_two_devices(
  pretrain_config, batch, shard
):
  pretrain_config.puzzle.update(HARDER)
  state = pretrain.create_state(pretrain_config, 10)
  _, one = run(pretrain, pretrain_config, state, batch, shard, 1)
  _, two = run(pretrain, pretrain_config, state, batch, shard, 2)
  for a, b in zip(one, two, strict=True):
    for name in ('loss', 'gradient_norm', 'patch_accuracy'):
      np.testing.assert_allclose(a[name], b[name], rtol=1e-3)
    assert a['chance'] == 1 / 16  # four targets of each of four images


def puzzles(config, batch, step, is_training=True):
  """Patches as a training step sees them, or as at evaluation."""
  keys = train_state.example_keys(config.seed, step, batch['index'])
  same = train_state.example_keys(0, 0, batch['index'])
  return np.asarray(
    pretrain._puzzle(
      config, batch['image'], same, keys if is_training else None
    )[0]
  )


@pytest.mark.parametrize('field', ['gap', 'colour_factor', 'colour_shift'])
def test_patches_are_changed_anew_in_each_step(pretrain_config, batch, field):
  pretrain_config.puzzle[field] = HARDER[field]
  first = puzzles(pretrain_config, batch, 0)
  np.testing.assert_array_equal(first, puzzles(pretrain_config, batch, 0))
  again = puzzles(pretrain_config, batch, 1)
  are_other = (first != again).any(axis=(2, 3, 4))
  assert are_other.mean() > 0.8  # of a gap of 2 one place of nine is the same
  half = jax.tree.map(lambda x: x[8:], batch)
  np.testing.assert_array_equal(puzzles(pretrain_config, half, 0), first[8:])


def test_evaluation_has_its_own_puzzle_and_colours(pretrain_config, batch):
  state = pretrain.create_state(pretrain_config, 10)

  def solve(config):
    step = functools.partial(pretrain.solve, config=config)
    return np.asarray(jax.jit(step)(state, batch)[0])

  before = solve(pretrain_config)
  pretrain_config.puzzle.update(HARDER | {'gap': 0})
  np.testing.assert_array_equal(solve(pretrain_config), before)
  pretrain_config.puzzle.gap = 2
  assert (solve(pretrain_config) != before).any()
  seen = puzzles(pretrain_config, batch, 0, is_training=False)
  pretrain_config.puzzle.gap = 0
  cells = puzzles(pretrain_config, batch, 0, is_training=False)
  np.testing.assert_array_equal(seen[:, :, 1:7, 1:7], cells[:, :, 1:7, 1:7])


def test_targets_of_other_images_compete_within_a_group(pretrain_config, batch):
  state = pretrain.create_state(pretrain_config, 10)
  keys = train_state.example_keys(0, 0, batch['index'])
  puzzle = pretrain._puzzle(pretrain_config, batch['image'], keys)
  logits = {
    group: np.asarray(
      state.apply_fn(state.variables, *puzzle, train=False, group=group)
    )
    for group in (1, 2)
  }
  assert logits[1].shape == (16, 4, 4) and logits[2].shape == (8, 8, 8)
  # An image's own are the blocks on the diagonal.
  for i, place in ((6, slice(0, 4)), (7, slice(4, 8))):
    np.testing.assert_allclose(logits[2][3, place, place], logits[1][i], 1e-4)


def test_a_puzzle_of_the_paper_changes_no_patch(
  pretrain_config, batch, monkeypatch
):
  monkeypatch.setattr(patches, 'recolour', None)
  monkeypatch.setattr(patches, 'separate', None)
  np.testing.assert_array_equal(
    puzzles(pretrain_config, batch, 0),
    puzzles(pretrain_config, batch, 0, is_training=False),
  )


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

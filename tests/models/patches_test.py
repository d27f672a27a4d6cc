"""Patches are cut and put together right; every image has its own split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax import errors
from selfie_jax.models import patches


def test_patch_is_the_window_of_its_row_and_column():
  images = np.arange(2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
  cut = patches.extract(jnp.asarray(images), 8)
  assert cut.shape == (2, 16, 8, 8, 3)
  np.testing.assert_array_equal(cut[1, 6], images[1, 8:16, 16:24])


@pytest.mark.parametrize('side, size', [(32, 8), (224, 32), (20, 5)])
def test_overlapping_patches_are_half_a_patch_apart(side, size):
  images = np.arange(2 * side * side * 3).reshape(2, side, side, 3)
  cut = patches.extract_overlapping(jnp.asarray(images), size)
  grid = side // size
  assert cut.shape == (2, 2 * grid - 1, 2 * grid - 1, size, size, 3)
  half = size // 2
  np.testing.assert_array_equal(
    cut[1, 1, 2], images[1, half : half + size, size : 2 * size]
  )
  np.testing.assert_array_equal(cut[0, -1, -1], images[0, -size:, -size:])
  apart = cut[:, ::2, ::2].reshape(2, -1, size, size, 3)
  np.testing.assert_array_equal(apart, patches.extract(images, size))


def test_assemble_undoes_extract():
  images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
  np.testing.assert_array_equal(
    patches.assemble(patches.extract(images, 8)), images
  )


@pytest.mark.parametrize('image, patch, targets', [(32, 8, 4), (224, 32, 12)])
def test_paper_masks_a_quarter(image, patch, targets):
  n = patches.grid_size(image, patch) ** 2
  assert patches.num_targets(n, 0.25) == targets


def test_split_is_a_partition_and_differs_between_images():
  keys = jax.random.split(jax.random.key(0), 64)
  context, targets = jax.vmap(lambda k: patches.split(k, 16, 4))(keys)
  assert context.shape == (64, 12) and targets.shape == (64, 4)
  both = np.sort(np.concatenate([context, targets], axis=1), axis=1)
  np.testing.assert_array_equal(both, np.tile(np.arange(16), (64, 1)))
  masks = {tuple(sorted(row)) for row in np.asarray(targets).tolist()}
  assert len(masks) > 50  # of 1820 possible ones; a batch mask would give 1


def test_every_place_is_masked_equally_often():
  keys = jax.random.split(jax.random.key(1), 4000)
  _, targets = jax.vmap(lambda k: patches.split(k, 16, 4))(keys)
  counts = np.bincount(np.asarray(targets).ravel(), minlength=16)
  assert abs(counts - 1000).max() < 150  # 5 standard deviations of 27


def test_patch_size_must_divide_the_image():
  with pytest.raises(errors.UserError, match='divisible.*2, 4, 8, 16'):
    patches.grid_size(32, 7)


@pytest.mark.parametrize('fraction', [0.01, 0.06, 0.99, 1.0])
def test_masking_none_or_one_or_all_is_refused(fraction):
  with pytest.raises(errors.UserError, match='valid: 2 to 15 patches'):
    patches.num_targets(16, fraction)


def test_separated_patches_are_windows_of_their_cells():
  cells = jax.random.normal(jax.random.key(0), (4, 16, 8, 8, 3))
  keys = jax.random.split(jax.random.key(1), 4)
  changed = np.asarray(patches.separate(cells, 3, keys))
  assert changed.shape == cells.shape
  inner = changed[:, :, 1:6, 1:6]  # the rest is reflection
  found = set()
  for cell, window in zip(
    np.asarray(cells).reshape(-1, 8, 8, 3),
    inner.reshape(-1, 5, 5, 3),
    strict=True,
  ):
    places = [
      (y, x)
      for y in range(4)
      for x in range(4)
      if (cell[y : y + 5, x : x + 5] == window).all()
    ]
    assert len(places) == 1
    found.update(places)
  assert len(found) == 16  # 64 patches, each place a sixteenth
  np.testing.assert_array_equal(changed[:, :, 0], changed[:, :, 2])
  np.testing.assert_array_equal(changed[:, :, 6:], changed[:, :, 4:2:-1])
  np.testing.assert_array_equal(changed[:, :, :, 0], changed[:, :, :, 2])


def test_separated_patches_follow_from_the_key_of_their_image():
  cells = jax.random.normal(jax.random.key(0), (4, 16, 8, 8, 3))
  keys = jax.random.split(jax.random.key(1), 4)
  whole = patches.separate(cells, 2, keys)
  np.testing.assert_array_equal(
    patches.separate(cells[2:], 2, keys[2:]), whole[2:]
  )
  assert (patches.separate(cells, 2, keys[::-1]) != whole).any()


@pytest.mark.parametrize('gap', [1, 2, 4])
def test_the_middle_is_cut_out_where_it_is(gap):
  cells = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 3))
  changed = patches.separate(cells, gap)
  kept = slice(gap // 2, gap // 2 + 8 - gap)
  np.testing.assert_array_equal(
    changed[:, :, kept, kept], cells[:, :, kept, kept]
  )


def recolour(images, key=0, **changes):
  none = {'factor': 0.0, 'shift': 0.0, 'greyscale': 0.0}
  keys = jax.random.split(jax.random.key(key), len(images))
  return np.asarray(patches.recolour(images, keys, 8, **none | changes))


def of_patches(images):
  """The values of each patch and channel: [patches, pixels, channels]."""
  cut = np.asarray(patches.extract(jnp.asarray(images), 8))
  return cut.reshape(-1, 64, 3)


def test_nothing_is_recoloured_by_nothing():
  images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  np.testing.assert_array_equal(recolour(images), images)


@pytest.mark.parametrize(
  'change, low, high',
  [({'factor': 0.4}, 60, 140), ({'shift': 0.2}, 49, 151)],
)
def test_each_channel_of_each_patch_is_changed_by_itself(change, low, high):
  images = np.full((16, 32, 32, 3), 100, np.uint8)
  changed = of_patches(recolour(images, **change))
  assert (changed == changed[:, :1]).all()  # all pixels of one alike
  values = changed[:, 0].ravel()
  assert len(np.unique(values)) > 700  # of 768
  assert low <= values.min() < low + 2 and high - 2 < values.max() <= high
  assert (recolour(images, 1, **change) != recolour(images, **change)).any()


def test_colours_stay_between_black_and_white():
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  changed = recolour(images, factor=1.0, shift=1.0)
  assert changed.min() == 0 and changed.max() == 255


def test_some_patches_are_grey():
  images = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
  changed = of_patches(recolour(images, greyscale=0.25))
  are_grey = (np.ptp(changed, axis=2) < 1e-3).all(axis=1)
  assert 0.18 < are_grey.mean() < 0.32  # of 512: 4 standard deviations
  before = of_patches(images)
  np.testing.assert_array_equal(changed[~are_grey], before[~are_grey])
  np.testing.assert_allclose(
    changed[are_grey][..., 0], before[are_grey] @ [0.299, 0.587, 0.114], 1e-4
  )

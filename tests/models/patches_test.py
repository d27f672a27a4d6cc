"""Patches are cut and put together right; every image has its own split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import patches


def test_patch_is_the_window_of_its_row_and_column():
  images = np.arange(2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
  cut = patches.extract(jnp.asarray(images), 8)
  assert cut.shape == (2, 16, 8, 8, 3)
  np.testing.assert_array_equal(cut[1, 6], images[1, 8:16, 16:24])
  np.testing.assert_array_equal(patches.assemble(cut), images)


@pytest.mark.parametrize('image, patch, targets', [(32, 8, 4), (224, 32, 12)])
def test_paper_masks_a_quarter(image, patch, targets):
  n = patches.grid_size(image, patch) ** 2
  assert patches.num_targets(n, 0.25) == targets


def test_split_is_a_fair_partition_and_differs_between_images():
  keys = jax.random.split(jax.random.key(0), 4000)
  context, targets = jax.vmap(lambda k: patches.split(k, 16, 4))(keys)
  assert context.shape == (4000, 12) and targets.shape == (4000, 4)
  both = np.sort(np.concatenate([context, targets], axis=1), axis=1)
  np.testing.assert_array_equal(both, np.tile(np.arange(16), (4000, 1)))
  masks = {tuple(sorted(row)) for row in np.asarray(targets[:64]).tolist()}
  assert len(masks) > 50  # of 1820 possible ones; a batch mask would give 1
  counts = np.bincount(np.asarray(targets).ravel(), minlength=16)
  assert abs(counts - 1000).max() < 150  # 5 standard deviations of 27

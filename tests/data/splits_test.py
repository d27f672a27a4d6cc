"""The labelled subsets are balanced, seeded, nested and disjoint."""

import numpy as np
import pytest

from selfie_jax import errors
from selfie_jax.data import splits

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 500))


def test_is_balanced_disjoint_sorted_and_drawn_by_the_seed():
  train, validation = splits.split(LABELS, 0.08, 0.1, seed=3)
  assert train.dtype == validation.dtype == np.int64
  assert np.bincount(LABELS[train]).tolist() == [36] * 10
  assert np.bincount(LABELS[validation]).tolist() == [4] * 10
  assert not set(train) & set(validation)
  assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()
  again, _ = splits.split(LABELS, 0.08, 0.1, seed=3)
  other, _ = splits.split(LABELS, 0.08, 0.1, seed=1)
  assert train.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize('small, large', [(0.05, 0.08), (0.08, 1.0)])
def test_smaller_set_lies_within_larger_one(small, large):
  parts = [splits.split(LABELS, f, 0.1, 3) for f in (small, large)]
  for inner, outer in zip(*parts, strict=True):
    assert set(inner) < set(outer)


@pytest.mark.parametrize('count', [1, 2, 10, 11, 12, 21, 22, 1000])
@pytest.mark.parametrize('share', [0.0, 0.07, 0.1, 0.3, 0.9])
def test_every_class_of_two_gives_one_to_validation(count, share):
  labels = np.repeat([0, 1], count)
  train, validation = splits.split(labels, 1.0, share, 0)
  hundredths = round(share * 100)
  expected = -(-(count - 1) * hundredths // 100)  # the ceiling
  assert np.bincount(labels[validation], minlength=2).tolist() == [expected] * 2
  assert np.bincount(labels[train]).tolist() == [count - expected] * 2


@pytest.mark.parametrize('size', [7, 143, 500, 1300])
def test_too_small_a_fraction_names_the_smallest(size):
  labels = np.repeat([0, 1, 1], size)
  with pytest.raises(errors.UserError) as caught:
    splits.split(labels, 0.0001, 0.1, 0)
  smallest = float(str(caught.value).split('label_fraction=')[1].split(' ')[0])
  train, _ = splits.split(labels, smallest, 0.1, 0)
  assert np.bincount(labels[train])[0] == 1
  with pytest.raises(errors.UserError):
    splits.split(labels, smallest - 2e-6, 0.1, 0)

"""The digits are scikit-learn's, split once and for all."""

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets
import tensorflow_datasets as tfds

from selfie_jax.data import digits


@pytest.fixture(scope='module')
def builder(tmp_path_factory):
  builder = digits.Digits(data_dir=tmp_path_factory.mktemp('tfds'))
  builder.download_and_prepare()
  return builder


def _arrays(builder, split):
  examples = list(tfds.as_numpy(builder.as_dataset(split=split)))
  images = np.stack([example['image'] for example in examples])
  return images, np.array([example['label'] for example in examples])


def test_splits_are_balanced_and_hold_every_digit_once(builder):
  train, train_labels = _arrays(builder, 'train')
  test, test_labels = _arrays(builder, 'test')
  assert np.bincount(test_labels).tolist() == [30] * 10
  assert train.shape == (1497, 32, 32, 3) and train.dtype == np.uint8
  source = sklearn_datasets.load_digits()

  def keys(images, labels):
    return sorted(
      (image.tobytes(), label)
      for image, label in zip(images, labels, strict=True)
    )

  grey = np.concatenate([train, test])[:, ::4, ::4, 0]
  levels = np.round(grey.astype(np.float64) * 16 / 255).astype(np.uint8)
  assert keys(
    levels, np.concatenate([train_labels, test_labels]).tolist()
  ) == keys(source.images.astype(np.uint8), source.target.tolist())


def test_enlarge_keeps_levels_and_covers_the_range():
  levels = np.arange(64).reshape(1, 8, 8) % 17
  image = digits.enlarge(levels)
  assert image.shape == (1, 32, 32, 3)
  assert image.min() == 0 and image.max() == 255
  assert (image[0, 4:8, 8:12] == image[0, 4, 8]).all()
  assert image[0, 4, 8, 0] == round(int(levels[0, 1, 2]) * 255 / 16)


def test_split_is_fixed(builder, tmp_path):
  again = digits.Digits(data_dir=tmp_path)
  again.download_and_prepare()
  for split in ('train', 'test'):
    first, second = _arrays(builder, split), _arrays(again, split)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])

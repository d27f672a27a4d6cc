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


def _examples(builder, split):
  """(pixels, label) of each."""
  data = tfds.as_numpy(builder.as_dataset(split=split))
  return [(x['image'].tobytes(), int(x['label'])) for x in data]


def test_splits_are_balanced_and_hold_every_digit_once(builder):
  train, test = _examples(builder, 'train'), _examples(builder, 'test')
  assert sorted(label for _, label in test) == sorted([*range(10)] * 30)
  source = sklearn_datasets.load_digits()
  large = source.images.repeat(4, axis=1).repeat(4, axis=2)
  large = np.uint8(np.round(large * 255 / 16))[..., None].repeat(3, axis=3)
  every = [
    (image.tobytes(), label)
    for image, label in zip(large, source.target, strict=True)
  ]
  assert sorted(train + test) == sorted(every)


def test_split_is_fixed(builder, tmp_path):
  again = digits.Digits(data_dir=tmp_path)
  again.download_and_prepare()
  for split in ('train', 'test'):
    assert _examples(builder, split) == _examples(again, split)

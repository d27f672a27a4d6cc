"""The digits are scikit-learn's, split once and for all."""

import hashlib

import numpy as np
from sklearn import datasets as sklearn_datasets
import tensorflow_datasets as tfds

from selfie_jax.data import digits


def _examples(builder, split):
  """(pixels, label) of each."""
  data = tfds.as_numpy(builder.as_dataset(split=split))
  return [(x['image'].tobytes(), int(x['label'])) for x in data]


def test_splits_are_balanced_and_hold_every_digit_once(tmp_path):
  builder = digits.Digits(data_dir=tmp_path)
  builder.download_and_prepare()
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
  pixels = b''.join(image for image, _ in sorted(test))
  assert hashlib.sha256(pixels).hexdigest()[:8] == 'f3fbb6cf'  # they stay

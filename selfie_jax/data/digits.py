"""scikit-learn's 1,797 real handwritten digits as a tfds data set."""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

_TEST_IMAGES_A_CLASS = 30
_SPLIT_SEED = 0
_ENLARGEMENT = 4


class Digits(tfds.core.GeneratorBasedBuilder):
  """8x8 grey digits shown at 32x32x3, prepared with no download.

  Splits: `test` has 30 images of each class (300), `train` the other 1,497;
  the choice is fixed. Source: `sklearn.datasets.load_digits`, the test part of
  the UCI "Optical Recognition of Handwritten Digits" data (CC BY 4.0).
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Fixed split: 30 test images of each class.'}

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Handwritten digits, 8x8 grey levels enlarged to 32x32x3.',
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(
            shape=(32, 32, 3), encoding_format='png'
          ),
          'label': tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage='https://archive.ics.uci.edu/dataset/80',
      citation='Alpaydin and Kaynak, UCI Machine Learning Repository, 1998',
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    del dl_manager
    # Loading scikit-learn takes a second that only preparation needs.
    from sklearn import datasets as sklearn_datasets

    digits = sklearn_datasets.load_digits()
    images = enlarge(digits.images)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    labels = digits.target[order]
    is_test = np.zeros(len(images), bool)
    for label in range(10):
      first = np.flatnonzero(labels == label)[:_TEST_IMAGES_A_CLASS]
      is_test[order[first]] = True
    return {
      'train': self._generate_examples(images, digits.target, ~is_test),
      'test': self._generate_examples(images, digits.target, is_test),
    }

  def _generate_examples(
    self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray
  ) -> Iterator[tuple[int, dict[str, object]]]:
    for index in np.flatnonzero(chosen).tolist():
      yield index, {'image': images[index], 'label': int(labels[index])}


def enlarge(levels: np.ndarray) -> np.ndarray:
  """Grey levels 0..16, [size, 8, 8], to uint8 0..255, [size, 32, 32, 3]."""
  grey = np.round(levels * (255 / 16)).astype(np.uint8)
  grey = grey.repeat(_ENLARGEMENT, axis=1).repeat(_ENLARGEMENT, axis=2)
  return np.repeat(grey[..., None], 3, axis=-1)

"""Augmentation does what a naive loop does, and follows from its seeds."""

import numpy as np
import pytest
import tensorflow as tf

from selfie_jax.data import augment

RNG = np.random.default_rng(0)


def _photo(height, width):
  """A smooth image: JPEG and resizing change it little."""
  rows, columns = np.mgrid[0:height, 0:width]
  channels = (rows * 255 / height, columns * 255 / width, 0 * rows + 128)
  return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize(
  'border, padding',
  [('zero', n) for n in (0, 3, 9)] + [('reflect', n) for n in (0, 1, 3, 7)],
)
def test_crop_and_flip_equals_a_loop_before_and_after_decoding(border, padding):
  images = RNG.integers(0, 256, (9, 8, 8, 3), np.uint8)
  chosen = RNG.integers(0, 9, 60)
  offsets = RNG.integers(0, 2 * padding + 1, (60, 2))
  flips = RNG.integers(0, 2, 60).astype(bool)
  out = augment.crop_and_flip(images, chosen, offsets, flips, padding, border)
  mode = 'constant' if border == 'zero' else border
  width = ((padding, padding), (padding, padding), (0, 0))
  for i, (top, left) in enumerate(offsets):
    image = np.pad(images[chosen[i]], width, mode=mode)
    image = image[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(out[i], image[:, ::-1] if flips[i] else image)
    decoded = augment.decode_padded_crop(
      tf.io.encode_png(images[chosen[i]]),
      tf.constant(offsets[i]),
      flips[i],
      8,
      padding,
      border,
    )
    np.testing.assert_array_equal(decoded, out[i])


def test_random_crop_follows_from_its_seed():
  encoded = tf.io.encode_jpeg(_photo(64, 96))

  def crop(seed, flip=False, encoded=encoded):
    return augment.decode_random_crop(
      encoded, tf.constant([seed, 1]), tf.constant(flip), 32, 0.08
    ).numpy()

  np.testing.assert_array_equal(crop(5), crop(5))
  assert (crop(5) != crop(6)).any()
  np.testing.assert_array_equal(crop(5, flip=True), crop(5)[:, ::-1])
  pixels = tf.io.decode_jpeg(encoded, dct_method='INTEGER_ACCURATE')
  close = np.abs(
    crop(5, encoded=tf.io.encode_png(pixels)).astype(int) - crop(5)
  )
  assert close.mean() < 3  # the same box, whatever the format


def test_random_crop_covers_the_areas_asked_for():
  # The first two channels are ramps: their ranges are the box's extents.
  encoded = tf.io.encode_png(_photo(100, 100))

  def areas(min_area):
    crops = [
      augment.decode_random_crop(
        encoded, tf.constant([seed, 0]), tf.constant(False), 32, min_area
      ).numpy()
      for seed in range(60)
    ]
    extents = [
      np.ptp(crop[..., :2], axis=(0, 1)) / 255 + 0.01 for crop in crops
    ]
    return [rows * columns for rows, columns in extents]

  assert min(areas(0.5)) > 0.45
  small = areas(0.08)
  assert 0.05 < min(small) < 0.25 and max(small) > 0.75

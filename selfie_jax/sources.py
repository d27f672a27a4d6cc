"""The images of a split, behind one face: in memory or on the disk."""

from collections.abc import Callable
import functools
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from selfie_jax import augment
from selfie_jax import datasets
from selfie_jax import records


class Source:
  """The images of a split: decoded in memory, or encoded on the disk.

  Attributes:
    size: number of examples.
    num_classes: number of labels.
    class_names: one string for each label.
    image_size: side of the images given out, pixels.
    in_memory: whether the set is decoded and resized once and kept. It is if
      it fits and no crop needs the original resolution.
  """

  def __init__(self, builder: tfds.core.DatasetBuilder, split, config):
    self.size = split.num_examples
    self.num_classes = builder.info.features['label'].num_classes
    self.class_names = builder.info.features['label'].names
    self.image_size = config.image_size
    self._crops_encoded = config.augment.crop == 'random_resized'
    gib = self.size * config.image_size**2 * 3 / 2**30
    self.in_memory = not self._crops_encoded and gib <= config.dataset.cache_gib
    self._builder, self._split = builder, split

  @property
  def labels(self) -> np.ndarray:
    """int32, [size], -1 for unlabelled; found on first use."""
    return self._decoded[1] if self.in_memory else self._records.labels

  def eval_images(self, indices: np.ndarray) -> np.ndarray:
    """Images without augmentation: uint8, [len(indices), s, s, 3]."""
    if self.in_memory:
      return self._decoded[0][indices]
    decode = (
      augment.decode_central_crop
      if self._crops_encoded
      else augment.decode_whole
    )
    return self._decoder(decode)(self._records.read(indices))

  def train_images(
    self,
    indices: np.ndarray,
    offsets: np.ndarray,
    seeds: np.ndarray,
    flips: np.ndarray,
    config,
  ) -> np.ndarray:
    """Augmented images: uint8, [batch, s, s, 3].

    Args:
      indices: positions in the set, [batch].
      offsets: see `augment.crop_and_flip`, for the crops 'pad' and 'none'.
      seeds: see `augment.decode_random_crop`, for 'random_resized'.
      flips: bool, [batch].
      config: the config's `augment`.
    """
    if self._crops_encoded:
      decode = self._decoder(
        augment.decode_random_crop,
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([None], tf.bool),
        min_area=config.min_area,
      )
      return decode(self._records.read(indices), seeds, flips)
    if self.in_memory:
      images, chosen = self._decoded[0], indices
    else:
      images, chosen = self.eval_images(indices), np.arange(len(indices))
    padding = config.padding if config.crop == 'pad' else 0
    return augment.crop_and_flip(
      images, chosen, offsets, flips, padding, config.border
    )

  @functools.cached_property
  def _decoded(self) -> tuple[np.ndarray, np.ndarray]:
    side = self.image_size
    images = np.empty((self.size, side, side, 3), np.uint8)
    labels = np.empty(self.size, np.int32)

    def decode(example):
      image = augment.decode_whole(example['image'], side)
      return image, tf.cast(example['label'], tf.int32)

    with datasets.quiet():
      data = self._builder.as_dataset(
        split=self._split.name,
        decoders={'image': tfds.decode.SkipDecoding()},
        # One file after the other, as `records` counts the examples.
        read_config=tfds.ReadConfig(
          interleave_cycle_length=1, try_autocache=False
        ),
      )
    data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    first = 0
    for part in data.batch(1024).prefetch(1).as_numpy_iterator():
      end = first + len(part[0])
      images[first:end], labels[first:end] = part
      first = end
    return images, labels

  @functools.cached_property
  def _records(self) -> records.Records:
    return records.Records(self._builder, self._split)

  @functools.cache  # noqa: B019 (a source lives as long as its run)
  def _decoder(
    self, decode: Callable[..., tf.Tensor], *specs: tf.TensorSpec, **settings
  ) -> Callable[..., np.ndarray]:
    """`decode` over a batch of records, on all cores."""

    def decode_one(record, *rest):
      encoded = self._records.encoded_image(record)
      return decode(encoded, self.image_size, *rest, **settings)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), *specs])
    def decode_batch(*columns):
      data = tf.data.Dataset.from_tensor_slices(columns)
      data = data.map(decode_one, os.cpu_count(), deterministic=True)
      count = tf.shape(columns[0], tf.int64)[0]
      return data.batch(count).get_single_element()

    return lambda *columns: decode_batch(
      *(tf.constant(column) for column in columns)
    ).numpy()

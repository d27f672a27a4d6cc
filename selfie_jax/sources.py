"""The images of a split, behind one face: in memory or on the disk."""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import dataclasses
import functools

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from selfie_jax import augment
from selfie_jax import datasets
from selfie_jax import records

# So many threads make batches in memory, and so many batches lie ready.
_WORKERS, _AHEAD = 2, 4


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a training batch is made of.

  Attributes:
    indices: positions in the set, int64, [batch].
    offsets: see `augment.crop_and_flip`, for the crops 'pad' and 'none'.
    seeds: see `augment.decode_random_crop`, for 'random_resized'.
    flips: bool, [batch].
  """

  indices: np.ndarray
  offsets: np.ndarray
  seeds: np.ndarray
  flips: np.ndarray


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

  def eval_images(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Images without augmentation.

    Args:
      parts: positions in the set, [count] each, at least one; all but the
        last equally many.

    Returns:
      For each part, uint8, [count, s, s, 3].
    """
    if self.in_memory:
      return _ahead(lambda indices: self._decoded[0][indices], parts)
    decode = (
      augment.decode_central_crop
      if self._crops_encoded
      else augment.decode_whole
    )
    return self._decode(((indices,) for indices in parts), decode)

  def train_images(
    self, plan: Callable[[int], Plan], steps: range, config
  ) -> Iterator[np.ndarray]:
    """Augmented images: uint8, [batch, s, s, 3] for each of the steps.

    Args:
      plan: what the batch of a step is made of; each has the same length.
      steps: the steps, in turn.
      config: the config's `augment`.
    """
    if self._crops_encoded:
      plans = map(plan, steps)
      return self._decode(
        ((plan.indices, plan.seeds, plan.flips) for plan in plans),
        augment.decode_random_crop,
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([None], tf.bool),
        min_area=config.min_area,
      )

    padding = config.padding if config.crop == 'pad' else 0

    def crop(images, chosen, plan):
      return augment.crop_and_flip(
        images, chosen, plan.offsets, plan.flips, padding, config.border
      )

    if self.in_memory:
      images = self._decoded[0]
      return _ahead(
        lambda plan: crop(images, plan.indices, plan), map(plan, steps)
      )
    # A plan is cheap to make again, and the reading runs ahead of the crops.
    whole = self.eval_images(plan(step).indices for step in steps)
    return (
      crop(images, np.arange(len(images)), plan(step))
      for images, step in zip(whole, steps, strict=True)
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

  def _decode(
    self,
    parts: Iterator[tuple[np.ndarray, ...]],
    decode: Callable[..., tf.Tensor],
    *specs: tf.TensorSpec,
    **settings,
  ) -> Iterator[np.ndarray]:
    """`decode` over parts (indices, *arguments) of the records, on all cores.

    All parts but the last are equally long.
    """
    first = next(parts, None)
    if first is None:
      return
    length = len(first[0])

    def read():
      yield self._records.read(first[0]), *first[1:]
      for indices, *arguments in parts:
        yield self._records.read(indices), *arguments

    def decode_one(record, *arguments):
      encoded = self._records.encoded_image(record)
      return decode(encoded, self.image_size, *arguments, **settings)

    signature = (tf.TensorSpec([None], tf.string), *specs)
    data = tf.data.Dataset.from_generator(read, output_signature=signature)
    data = data.prefetch(2).unbatch()
    data = data.map(decode_one, tf.data.AUTOTUNE, deterministic=True)
    yield from data.batch(length).prefetch(2).as_numpy_iterator()


def _ahead(
  function: Callable[..., np.ndarray], arguments: Iterable
) -> Iterator[np.ndarray]:
  """`map`, computed on threads before it is asked for."""
  with futures.ThreadPoolExecutor(_WORKERS, 'batches') as pool:
    pending = collections.deque()
    try:
      for argument in arguments:
        pending.append(pool.submit(function, argument))
        if len(pending) > _AHEAD:
          yield pending.popleft().result()
      while pending:
        yield pending.popleft().result()
    finally:
      for future in pending:
        future.cancel()

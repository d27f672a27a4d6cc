"""The images of a split, behind one face: in memory or on the disk."""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import dataclasses
import functools
import logging

import numpy as np
import tensorflow as tf

from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import folder
from selfie_jax.data import records

logger = logging.getLogger(__name__)

# So many threads make batches in memory, and so many batches lie ready.
_WORKERS, _AHEAD = 2, 4
# So many of the images that cannot be read are named.
_NAMED = 3


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

  Images that cannot be decoded are left out before anything else is done, so
  positions in the set count the others only, whoever reads it.

  Attributes:
    num_classes: number of labels.
    class_names: one string for each label.
    facts: numbers and names, for JSON, by which to know the data again.
    image_size: side of the images given out, pixels.
    in_memory: whether the set is decoded and resized once and kept. It is if
      it fits and no crop needs the original resolution.
  """

  def __init__(self, store: records.Records | folder.Folder, config):
    self.class_names = store.class_names
    self.num_classes = len(store.class_names)
    self.facts = store.facts
    self.image_size = config.image_size
    self._crops_encoded = config.augment.crop == 'random_resized'
    gib = store.size * config.image_size**2 * 3 / 2**30
    self.in_memory = not self._crops_encoded and gib <= config.dataset.cache_gib
    self._store = store
    self._max_unreadable = config.dataset.max_unreadable

  @property
  def size(self) -> int:
    """Number of images that can be read; found on first use."""
    return len(self.labels)

  @property
  def labels(self) -> np.ndarray:
    """int32, [size], -1 for unlabelled; found on first use.

    Raises:
      UserError: more than dataset.max_unreadable of the images cannot be read.
    """
    if self.in_memory:
      return self._decoded[1]
    return self._store.labels[self._readable]

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
    padding = config.padding if config.crop == 'pad' else 0
    plans = map(plan, steps)
    if self.in_memory:
      images = self._decoded[0]

      def crop(plan):
        return augment.crop_and_flip(
          images,
          plan.indices,
          plan.offsets,
          plan.flips,
          padding,
          config.border,
        )

      return _ahead(crop, plans)
    if self._crops_encoded:
      return self._decode(
        ((plan.indices, plan.seeds, plan.flips) for plan in plans),
        augment.decode_random_crop,
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([None], tf.bool),
        min_area=config.min_area,
      )
    return self._decode(
      ((plan.indices, plan.offsets, plan.flips) for plan in plans),
      augment.decode_padded_crop,
      tf.TensorSpec([None, 2], tf.int64),
      tf.TensorSpec([None], tf.bool),
      padding=padding,
      border=config.border,
    )

  @functools.cached_property
  def _decoded(self) -> tuple[np.ndarray, np.ndarray]:
    side, total = self.image_size, self._store.size
    images = np.empty((total, side, side, 3), np.uint8)
    labels = np.empty(total, np.int32)
    if self._store.has_random_access:
      _ = self._store.labels  # finds damaged files
    kept, end = [], 0
    for positions, label, image in self._read_through(
      lambda encoded: augment.decode_whole(encoded, side)
    ):
      first, end = end, end + len(label)
      images[first:end], labels[first:end] = image, label
      kept.append(positions)
    self._tell_unreadable(kept)
    return images[:end], labels[:end]

  @functools.cached_property
  def _readable(self) -> np.ndarray:
    """Positions among the records of the images that can be read, int64."""

    def look() -> np.ndarray:
      logger.info(
        'Decoding the %d images of %s once, to find any that cannot be read',
        self._store.size,
        self._store.name,
      )
      kept = [
        positions for positions, _, _ in self._read_through(augment.full_shape)
      ]
      return np.concatenate([*kept, np.empty(0, np.int64)])

    kept = self._store.remembered('readable', look)
    self._tell_unreadable([kept])
    return kept

  def _read_through(
    self, decode: Callable[[tf.Tensor], tf.Tensor]
  ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches (positions, labels, decode(image)), without what cannot be."""
    data = self._store.in_order(decode).ignore_errors().batch(1024).prefetch(1)
    yield from data.as_numpy_iterator()

  def _tell_unreadable(self, kept: list[np.ndarray]) -> None:
    """Says how many images are left out, and which were the first."""
    total = self._store.size
    missing = np.setdiff1d(
      np.arange(total), np.concatenate([*kept, np.empty(0, np.int64)])
    )
    if not missing.size:
      return
    named = ''
    if self._store.has_random_access:
      named = '; '.join(map(self._store.describe, missing[:_NAMED].tolist()))
      named = f': {named}' + (' ...' if missing.size > _NAMED else '')
    said = (
      f'{missing.size} of the {total} images of {self._store.name} cannot be '
      f'read{named}'
    )
    if missing.size > self._max_unreadable * total:
      raise errors.UserError(
        f'{said}. Mend the data set, or leave more of it out with '
        f'--config.dataset.max_unreadable={missing.size / total:.2g} or more'
      )
    logger.warning('%s. They are left out', said)

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
      yield self._store.read(self._readable[first[0]]), *first[1:]
      for indices, *arguments in parts:
        yield self._store.read(self._readable[indices]), *arguments

    def decode_one(record, *arguments):
      encoded = self._store.encoded_image(record)
      return decode(encoded, self.image_size, *arguments, **settings)

    signature = (tf.TensorSpec([None], tf.string), *specs)
    data = tf.data.Dataset.from_generator(read, output_signature=signature)
    data = data.prefetch(2).unbatch()
    data = data.map(decode_one, tf.data.AUTOTUNE, deterministic=True)
    try:
      yield from data.batch(length).prefetch(2).as_numpy_iterator()
    except tf.errors.OpError as error:
      raise errors.UserError(
        f'an image of {self._store.name} that could be read before cannot be '
        f'read any more ({" ".join(error.message.split())[:300]}); put the '
        'data set back and type the same command again'
      ) from error


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

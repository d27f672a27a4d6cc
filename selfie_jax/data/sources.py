"""The images of a split, behind one interface: in memory or decoded as read."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from selfie_jax import cache
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import decoding
from selfie_jax.data import records
from selfie_jax.data import retry
from selfie_jax.data import tf
from selfie_jax.data import threads
from selfie_jax.data.photos import folder
from selfie_jax.data.photos import images as photo_images

_SAMPLE = 64  # images that are looked at, whether they are black


@dataclasses.dataclass(frozen=True)
class BatchSpec:
  """Which images a batch has; to train on, also how they are augmented.

  Attributes:
    indices: positions in the set, int64, [batch].
    crops: [batch, 2]: the seeds of `augment.decode_random_crop` for the crop
      'random_resized', else the offsets of `augment.crop_and_flip`.
    flips: whether to mirror left to right, bool, [batch].
  """

  indices: np.ndarray
  crops: np.ndarray | None = None
  flips: np.ndarray | None = None


class Source:
  """The images of a split: decoded in memory, or encoded on the disk.

  People's own images that cannot be decoded are left out, and positions in the
  set count the others only. In a tfds set such an image is an error.

  Attributes:
    name: of the data set and the split.
    num_classes: number of labels.
    class_names: one string for each label.
    image_size: side of the images given out, pixels.
    in_memory: whether the set is decoded and resized once and kept. It is if
      it fits and no crop needs the original resolution.
    memory_gib: what it takes there.
  """

  def __init__(
    self,
    reader: records.Records | folder.Folder,
    config,
    taken_gib: float = 0.0,
  ):
    """Takes the encoded images of a split; reads none of them.

    Args:
      reader: where they are.
      config: the job's.
      taken_gib: of dataset.cache_gib, what other splits take.
    """
    self.name = reader.name
    self.class_names = reader.class_names
    self.num_classes = len(reader.class_names)
    self.image_size = config.image_size
    self._crop = config.augment.crop
    gib = reader.size * config.image_size**2 * 3 / 2**30
    fits = taken_gib + gib <= config.dataset.cache_gib
    self.in_memory = fits and self._crop != 'random_resized'
    self.memory_gib = gib if self.in_memory else 0.0
    read_ahead = config.dataset.read_ahead if reader.in_bucket else 0
    self._reads_ahead = max(read_ahead // config.batch_size - decoding.AHEAD, 1)
    self._reader = reader

  @property
  def size(self) -> int:
    """Number of images; found on first use, as the next three are."""
    return len(self.labels)

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """int32, [size], -1 for unlabelled."""
    return self._reader.labels[self._readable]

  @functools.cached_property
  def unreadable(self) -> np.ndarray:
    """Positions among all images of those that cannot be decoded, sorted."""
    if not self._reader.skip_corrupt:
      return np.empty(0, np.int64)
    if not self.in_memory:
      return self._scanned['unreadable']
    here = self._decoded['unreadable']
    unreadable = distributed.broadcast_from_primary(lambda: here)
    for position in np.setdiff1d(here, unreadable)[:1].tolist():
      raise errors.UserError(
        f'{self._reader.locate(position)} can be decoded by the first process'
        ' of the job but not by this one; let all of them see the same files'
      )
    return unreadable

  def warn_if_black(self) -> None:
    """Warns if most of people's first images are nearly black."""
    if not self._reader.skip_corrupt:
      return
    sample = self._readable[:_SAMPLE]
    if self.in_memory:
      brightest = self._decoded['images'][sample].max((1, 2, 3))
    else:
      brightest = self._scanned['brightest'][sample]
    photo_images.warn_if_black(brightest, self.name)

  @property
  def metadata(self) -> dict[str, object]:
    """Numbers and names, for JSON, by which to know the data again."""
    if self._reader.skip_corrupt:
      more = {'left_out': self._reader.names(self.unreadable)}
    else:  # another version of the set may have another order
      more = {'labels': hashlib.sha256(self.labels.tobytes()).hexdigest()[:16]}
    return self._reader.metadata | more

  def describe_unreadable(self) -> tuple[float, str]:
    """The share of images that cannot be decoded; and which, in words."""
    unreadable = self.unreadable
    if not unreadable.size:
      return 0.0, ''
    text = self._reader.describe_unreadable(unreadable)
    return unreadable.size / self._reader.size, text

  def eval_images(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Images without augmentation.

    Args:
      parts: positions in the set, [count] each.

    Returns:
      For each part, uint8, [count, s, s, 3].
    """
    specs = (BatchSpec(part) for part in parts)
    if self.in_memory:
      whole = self._decoded['images']
      batches = self._stream(
        specs, lambda spec, _: whole[self._readable[spec.indices]]
      )
    else:
      decode = functools.partial(self._decode, self._eval_decoder)
      batches = self._stream(specs, decode)
    return (images for _, images in batches)

  def train_images(
    self, specs: Iterable[BatchSpec], config
  ) -> Iterator[tuple[BatchSpec, np.ndarray]]:
    """Augmented images: each spec, with uint8 [batch, s, s, 3].

    Args:
      specs: what each batch is made of.
      config: the config's `augment`.
    """
    padding = config.padding if config.crop == 'pad' else 0
    border = {'padding': padding, 'border': config.border}
    if self.in_memory:
      whole = self._decoded['images']
      return self._stream(
        specs,
        lambda spec, _: augment.crop_and_flip(
          whole,
          self._readable[spec.indices],
          spec.crops,
          spec.flips,
          **border,
        ),
      )
    if self._crop == 'random_resized':
      crop, dtype = augment.decode_random_crop, tf.int32
      settings = {'min_area': config.min_area}
    else:
      crop, dtype, settings = augment.decode_padded_crop, tf.int64, border
    decoder = decoding.Decoder(
      self._reader,
      functools.partial(crop, size=self.image_size, **settings),
      tf.TensorSpec([None, 2], dtype),
      tf.TensorSpec([None], tf.bool),
    )
    return self._stream(specs, functools.partial(self._decode, decoder))

  def _stream(
    self,
    specs: Iterable[BatchSpec],
    make: Callable[[BatchSpec, Any], np.ndarray],
  ) -> Iterator[tuple[BatchSpec, np.ndarray]]:
    """Each spec with `make(spec, its records)`, made ahead."""
    cache.keep_memory()  # half of the time without, in memory
    reads = threads.prefetch(self._begin_read, specs, self._reads_ahead)
    batches = threads.prefetch(
      lambda read: decoding.pool.submit(make, *read), reads, decoding.AHEAD
    )
    for (spec, _), batch in batches:
      yield spec, batch.result()

  def _begin_read(self, spec: BatchSpec) -> Any:
    if self.in_memory:
      return futures.Future()  # nothing waits for it
    return self._reader.submit(self._readable[spec.indices])

  def _decode(
    self, decoder: decoding.Decoder, spec: BatchSpec, read
  ) -> np.ndarray:
    """Images that have been read, decoded and augmented."""
    if not spec.indices.size:
      return np.empty((0, self.image_size, self.image_size, 3), np.uint8)
    crops = () if spec.crops is None else (spec.crops, spec.flips)
    return decoder(self._readable[spec.indices], read.result(), *crops)

  @functools.cached_property
  def _eval_decoder(self) -> decoding.Decoder:
    decode = functools.partial(
      augment.decode_eval, size=self.image_size, crop=self._crop
    )
    return decoding.Decoder(self._reader, decode)

  @functools.cached_property
  def _readable(self) -> np.ndarray:
    """Positions among all images of those in the set, int64."""
    return np.setdiff1d(np.arange(self._reader.size), self.unreadable)

  @functools.cached_property
  def _decoded(self) -> retry.Arrays:
    """All 'images', and the positions of those 'unreadable'."""
    return decoding.decode_images(self._reader, self.image_size)

  @functools.cached_property
  def _scanned(self) -> retry.Arrays:
    """What decoding the images on the disk once has told."""
    return distributed.broadcast_from_primary(
      lambda: decoding.scan_images(self._reader)
    )

"""The images of a split, behind one face: in memory or on the disk."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import functools
import itertools
import logging

import numpy as np
import PIL

from selfie_jax import data as data_lib
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import index
from selfie_jax.data import parallel
from selfie_jax.data import records
from selfie_jax.data import tf
from selfie_jax.data.photos import folder

logger = logging.getLogger(__name__)

_KEPT_GIB = 0.5  # decoded sets up to this are kept in the cache folder too
# What their pixels come from. The number is ours: raise it with a change of
# augment.decode_whole or of photos.images.
_DECODERS = 1, data_lib.tensorflow_version(), PIL.__version__


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

  People's own images that cannot be decoded are left out, and positions in the
  set count the others only. In a tfds set such an image is an error.

  Attributes:
    name: of the data set and the split.
    num_classes: number of labels.
    class_names: one string for each label.
    image_size: side of the images given out, pixels.
    in_memory: whether the set is decoded and resized once and kept. It is if
      it fits and no crop needs the original resolution.
  """

  def __init__(
    self,
    store: records.Records | folder.Folder,
    config,
    broadcast_from_primary: index.FromPrimary = lambda make: make(),
  ):
    """Takes the encoded images of a split; see input_pipeline.open_sources."""
    self.name = store.name
    self.class_names = store.class_names
    self.num_classes = len(store.class_names)
    self.image_size = config.image_size
    self._crops_encoded = config.augment.crop == 'random_resized'
    gib = store.size * config.image_size**2 * 3 / 2**30
    self.in_memory = not self._crops_encoded and gib <= config.dataset.cache_gib
    self._is_small = gib <= _KEPT_GIB
    self._read_ahead = config.dataset.read_ahead if store.in_bucket else 0
    self._store = store
    self._from_primary = broadcast_from_primary

  @property
  def size(self) -> int:
    """Number of images; found on first use, as the next three are."""
    return len(self.labels)

  @property
  def labels(self) -> np.ndarray:
    """int32, [size], -1 for unlabelled."""
    if self.in_memory:
      return self._decoded[1]
    return self._store.labels[self._readable]

  @property
  def left_out(self) -> np.ndarray:
    """Positions among all images of those that cannot be decoded, sorted."""
    if not self._store.may_be_damaged:
      return np.empty(0, np.int64)
    return self._decoded[2] if self.in_memory else self._damaged

  @property
  def metadata(self) -> dict[str, object]:
    """Numbers and names, for JSON, by which to know the data again."""
    metadata = self._store.metadata
    if self._store.may_be_damaged:
      metadata = metadata | {'left_out': self._store.names(self.left_out)}
    return metadata

  def check_left_out(self) -> tuple[float, str]:
    """The share of images that are left out; and which, in words."""
    left_out = self.left_out
    named = self._store.describe_damaged(left_out) if left_out.size else ''
    return left_out.size / self._store.size, named

  def eval_images(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Images without augmentation.

    Args:
      parts: positions in the set, [count] each, at least one; all but the
        last equally many.

    Returns:
      For each part, uint8, [count, s, s, 3].
    """
    if self.in_memory:
      images = self._decoded[0]
      gathered = parallel.gather(lambda part: images[part], parts)
      return (found for _, found in gathered)
    decode = (
      augment.decode_central_crop
      if self._crops_encoded
      else augment.decode_whole
    )
    return self._decode(((indices,) for indices in parts), decode)

  def train_images(
    self, plans: Iterator[Plan], config
  ) -> Iterator[tuple[Plan, np.ndarray]]:
    """Augmented images: each plan, with uint8 [batch, s, s, 3].

    Args:
      plans: what each batch is made of; all of the same length.
      config: the config's `augment`.
    """
    padding = config.padding if config.crop == 'pad' else 0
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

      yield from parallel.gather(crop, plans)
      return
    begun = collections.deque()

    def columns():
      for plan in plans:
        begun.append(plan)
        edges = plan.seeds if self._crops_encoded else plan.offsets
        yield plan.indices, edges, plan.flips

    if self._crops_encoded:
      decode = functools.partial(
        augment.decode_random_crop, min_area=config.min_area
      )
    else:
      decode = functools.partial(
        augment.decode_padded_crop, padding=padding, border=config.border
      )
    edge = tf.int32 if self._crops_encoded else tf.int64
    specs = tf.TensorSpec([None, 2], edge), tf.TensorSpec([None], tf.bool)
    for images in self._decode(columns(), decode, *specs):
      yield begun.popleft(), images

  @functools.cached_property
  def _decoded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All images, their labels, and the positions of those left out."""
    what = ['images', self.image_size, self._store.metadata, _DECODERS]
    make = functools.partial(
      parallel.decode_images, self._store, self.image_size
    )
    kept = self._store.remembered(what, make) if self._is_small else make()
    images, labels, positions = (
      kept[name] for name in ('images', 'labels', 'positions')
    )
    damaged = np.setdiff1d(np.arange(self._store.size), positions)
    if not self._store.may_be_damaged:
      return images, labels, damaged
    left_out = self._from_primary(lambda: damaged)
    for position in np.setdiff1d(damaged, left_out)[:1].tolist():
      raise errors.UserError(
        f'{self._store.where(position)} can be decoded by the first process of'
        ' the job but not by this one; let all of them see the same files'
      )
    if (kept := ~np.isin(positions, left_out)).all():
      return images, labels, left_out
    return images[kept], labels[kept], left_out

  @functools.cached_property
  def _readable(self) -> np.ndarray:
    """Positions among all images of those in the set, int64."""
    return np.setdiff1d(np.arange(self._store.size), self.left_out)

  @functools.cached_property
  def _damaged(self) -> np.ndarray:
    """Positions of the images on the disk that cannot be decoded, int64."""
    look = functools.partial(parallel.find_damaged, self._store)
    return self._from_primary(
      lambda: self._store.remembered(['damaged'], look)['damaged']
    )

  def _decode(
    self,
    parts: Iterator[tuple[np.ndarray, ...]],
    decode: Callable[..., tf.Tensor],
    *specs: tf.TensorSpec,
  ) -> Iterator[np.ndarray]:
    """`decode` over parts (indices, *arguments); all but the last as long."""
    first = next(parts, None)
    if first is None:
      return
    batch_size = len(first[0])

    def read():
      for (indices, *arguments), encoded in parallel.ahead(
        lambda part: self._store.begin(self._readable[part[0]]),
        itertools.chain([first], parts),
        max(self._read_ahead // batch_size, 1),
      ):
        yield self._readable[indices], (encoded, *arguments)

    def decode_one(record, *arguments):
      encoded = self._store.encoded_image(record)
      return decode(encoded, self.image_size, *arguments)

    yield from parallel.decode(
      self._store, read(), decode_one, specs, batch_size
    )

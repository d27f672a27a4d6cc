"""Decodes the images of a reader on all cores; says which of them are corrupt.

A reader is a records.Records or a folder.Folder.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import functools
import logging
import os

import numpy as np
import PIL

from selfie_jax import data as data_lib
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import retry
from selfie_jax.data import tf
from selfie_jax.data import threads

logger = logging.getLogger(__name__)

AHEAD = 4  # batches that lie ready
pool = threads.Pool(2)  # makes batches; TensorFlow has threads of its own
_CACHED_GIB = 0.5  # decoded sets up to this are stored in the cache folder
# What their pixels come from. The number is ours: raise it with a change of
# augment.decode_eval or of photos.images.
_DECODERS = 3, data_lib.tensorflow_version(), PIL.__version__


class Decoder:
  """Decodes batches of a reader's records.

  Args:
    reader: where the records are from.
    function: gives a tensor for (encoded image, *arguments).
    *specs: of the arguments, for a batch.
  """

  def __init__(self, reader, function: Callable, *specs: tf.TensorSpec):
    self._reader = reader

    def decode_one(record, *arguments):
      return function(reader.encoded_image(record), *arguments)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), *specs])
    def decode(*columns):
      data = tf.data.Dataset.from_tensor_slices(columns)
      data = data.map(decode_one, os.cpu_count(), deterministic=True)
      return data.batch(1 << 30).get_single_element()  # all of them

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode_readable(records):
      data = tf.data.Dataset.from_tensor_slices(records).enumerate()
      data = data.map(
        lambda number, record: (number, decode_one(record)),
        os.cpu_count(),
        deterministic=True,
      )
      data = data.ignore_errors()
      nothing = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), data.element_spec
      )
      # Without it there may be none.
      data = data.concatenate(tf.data.Dataset.from_tensors(nothing))
      return data.batch(1 << 30).get_single_element()

    self._decode, self._decode_readable = decode, decode_readable

  def __call__(
    self, positions: np.ndarray, records: list[bytes], *arguments
  ) -> np.ndarray:
    """The function's results for a batch, [batch, ...].

    Raises:
      UserError: an image cannot be decoded; it is named by its position.
    """
    try:
      return self._decode(records, *arguments).numpy()
    except tf.errors.OpError as error:
      for position, record in zip(
        positions.tolist(), tf.constant(records).numpy().tolist(), strict=True
      ):
        if reason := self._reader.decode_error(record):
          raise errors.UserError(
            f'an image of {self._reader.name} cannot be decoded:'
            f' {self._reader.locate(position)} ({reason}). Put a good copy'
            ' there, or prepare the data set again, and type the same command'
            ' again'
          ) from error
      raise errors.UserError(
        f'the images of {self._reader.name} cannot be decoded'
        f' ({retry.reason(error)})'
      ) from error

  def all_images(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions, labels and results of all images, some at a time.

    Those that cannot be decoded are left out where the reader says so.
    """
    name, size = self._reader.name, self._reader.size
    progress = retry.Progress(f'Decoding {name}', 'images', size)
    for chunk, decoded in threads.prefetch(
      lambda chunk: pool.submit(self._decode_chunk, *chunk),
      self._reader.in_order(),
      AHEAD,
    ):
      progress.add(len(chunk[0]))
      yield decoded.result()

  def _decode_chunk(self, positions, labels, records):
    """The same of a few images."""
    if not self._reader.skip_corrupt:
      return positions, labels, self(positions, records)
    numbers, results = self._decode_readable(records)
    readable = numbers.numpy()[:-1]
    return positions[readable], labels[readable], results.numpy()[:-1]


def decode_images(reader, side: int) -> retry.Arrays:
  """All images as evaluation sees them, without the corrupt ones.

  Those of a small set are cached.

  Args:
    reader: where they are.
    side: of the results, pixels.

  Returns:
    'images' uint8 [n, side, side, 3], 'labels' int32 [n] and 'unreadable',
    the positions of the others in the reader, int64.
  """
  if reader.size * side**2 * 3 > _CACHED_GIB * 2**30:
    return _decode_images(reader, side)

  def fits(found: retry.Arrays) -> bool:
    count = reader.size - len(found['unreadable'])
    shapes = found['images'].shape, found['labels'].shape
    return shapes == ((count, side, side, 3), (count,))

  key = ['images', side, reader.metadata, _DECODERS, *reader.fingerprint]
  make = functools.partial(_decode_images, reader, side)
  return retry.cached(key, make, fits)


def find_corrupt(reader) -> retry.Arrays:
  """What decoding all images tells, as they are; cached.

  Returns:
    'unreadable', the positions of those that cannot be decoded, int64, and
    'brightest', the largest of the numbers of each of the others, uint8.
  """
  return retry.cached(
    ['brightest', *reader.fingerprint],
    functools.partial(_find_corrupt, reader),
    lambda x: x['brightest'].size + x['unreadable'].size == reader.size,
  )


def _decode_images(reader, side: int) -> retry.Arrays:
  decoder = Decoder(
    reader, lambda image: augment.decode_eval(image, side, 'none')
  )
  images = np.empty((reader.size, side, side, 3), np.uint8)
  labels = np.empty(reader.size, np.int32)
  is_corrupt, end = np.ones(reader.size, bool), 0
  for some, some_labels, decoded in decoder.all_images():
    part = slice(end, end + len(some))
    labels[part], images[part] = some_labels, decoded
    is_corrupt[some] = False
    end += len(some)
  return {
    'images': images[:end],
    'labels': labels[:end],
    'unreadable': np.flatnonzero(is_corrupt),
  }


def _find_corrupt(reader) -> retry.Arrays:
  logger.info(
    'Decoding the %d images of %s once, to find any that cannot be',
    reader.size,
    reader.name,
  )
  is_corrupt, brightest = np.ones(reader.size, bool), []
  for positions, _, some in Decoder(reader, augment.brightest).all_images():
    is_corrupt[positions] = False
    brightest.append(some)
  return {
    'unreadable': np.flatnonzero(is_corrupt),
    'brightest': np.concatenate(brightest),
  }

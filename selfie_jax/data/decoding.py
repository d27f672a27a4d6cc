"""Decodes the images of a reader on all cores; says which of them are corrupt.

A reader is a records.Records or a folder.Folder.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import logging
import os

import numpy as np
import PIL

from selfie_jax import data as data_lib
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import reading
from selfie_jax.data import retry
from selfie_jax.data import tf
from selfie_jax.data import threads

logger = logging.getLogger(__name__)

AHEAD = 4  # batches that lie ready
pool = threads.Pool(2)  # makes batches; TensorFlow has threads of its own
_CHUNK = 64  # images read and decoded at once, where all are
_CACHED_GIB = 0.5  # decoded sets up to this are stored in the cache folder
# What pixels come from, and which images can be decoded. The number is ours:
# raise it with a change of augment.decode_eval or of photos.images.
_DECODERS = 4, data_lib.tensorflow_version(), PIL.__version__


class Decoder:
  """Decodes batches of a reader's records.

  Args:
    reader: where the records are from.
    function: gives a tensor for (encoded image, *arguments).
    *specs: of the arguments, for a batch.
  """

  def __init__(self, reader, function: Callable, *specs: tf.TensorSpec):
    self._reader = reader

    def decode_one(number, record, *arguments):
      return number, function(reader.encoded_image(record), *arguments)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), *specs])
    def decode(*columns):
      numbers = tf.range(tf.shape(columns[0])[0])
      data = tf.data.Dataset.from_tensor_slices((numbers, *columns))
      data = data.map(decode_one, os.cpu_count(), deterministic=True)
      data = data.ignore_errors()
      nothing = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), data.element_spec
      )
      # Without it there may be none.
      data = data.concatenate(tf.data.Dataset.from_tensors(nothing))
      return data.batch(1 << 30).get_single_element()  # all of them

    self._decode = decode

  def __call__(
    self, positions: np.ndarray, records: list[bytes], *arguments
  ) -> np.ndarray:
    """The function's results for a batch, [batch, ...].

    Raises:
      UserError: an image cannot be decoded; it is named by its position.
      MayPass: one was not decoded, and can be.
    """
    readable, results = self.decode_readable(positions, records, *arguments)
    for number in np.setdiff1d(np.arange(len(records)), readable)[:1].tolist():
      place = self._reader.locate(positions[number])
      reason = self._reader.decode_error(records[number])
      raise errors.UserError(
        f'an image of {self._reader.name} cannot be decoded: {place}'
        f' ({reason}). Put a good copy there, or prepare the data set again,'
        ' and type the same command again'
      )
    return results

  def decode_readable(
    self, positions: np.ndarray, records: list[bytes], *arguments
  ) -> tuple[np.ndarray, np.ndarray]:
    """Which records can be decoded, numbers [n], and the results, [n, ...].

    Raises:
      MayPass: one was not decoded, and can be.
    """
    numbers, results = self._decode(records, *arguments)
    readable = numbers.numpy()[:-1]
    for number in np.setdiff1d(np.arange(len(records)), readable).tolist():
      if not self._reader.decode_error(records[number]):
        raise errors.MayPass(
          f'an image of {self._reader.name} was not decoded, and can be:'
          f' {self._reader.locate(positions[number])}. The memory may have been'
          ' full. Type the same command again'
        )
    return readable, results.numpy()[:-1]


def decode_images(reader, side: int) -> retry.Arrays:
  """All images as evaluation sees them; those of a small set are cached.

  Args:
    reader: where they are.
    side: of the results, pixels.

  Returns:
    'images' uint8 [size, side, side, 3], and 'unreadable', the positions of
    those that cannot be decoded and are black here, int64.
  """

  def make() -> retry.Arrays:
    images = np.zeros((reader.size, side, side, 3), np.uint8)
    decode = functools.partial(augment.decode_eval, size=side, crop='none')
    unreadable = _decode_all(reader, decode, images)
    return {'images': images, 'unreadable': unreadable}

  if reader.size * side**2 * 3 > _CACHED_GIB * 2**30:
    return make()
  return retry.cached(
    ['images', side, reader.metadata, _DECODERS, *reader.fingerprint],
    make,
    lambda found: found['images'].shape == (reader.size, side, side, 3),
  )


def scan_images(reader) -> retry.Arrays:
  """What decoding all images tells, as they are; cached.

  Returns:
    'brightest', the largest number in each image, uint8 [size], and
    'unreadable', the positions of those that cannot be decoded, int64.
  """

  def make() -> retry.Arrays:
    logger.info(
      'Decoding the %d images of %s once, to find any that cannot be',
      reader.size,
      reader.name,
    )
    brightest = np.zeros(reader.size, np.uint8)
    unreadable = _decode_all(reader, augment.brightest, brightest)
    return {'brightest': brightest, 'unreadable': unreadable}

  return retry.cached(
    ['brightest', _DECODERS, *reader.fingerprint],
    make,
    lambda found: found['brightest'].shape == (reader.size,),
  )


def _decode_all(reader, function: Callable, out: np.ndarray) -> np.ndarray:
  """Fills in the results of all images; gives the positions of corrupt ones.

  UserError for the first of them where the reader does not skip them.
  """
  decoder = Decoder(reader, function)
  progress = retry.Progress(f'Decoding {reader.name}', 'images', reader.size)
  is_corrupt = np.ones(reader.size, bool)

  def decode(positions: np.ndarray, read: reading.PendingRead) -> None:
    records = read.result()
    if reader.skip_corrupt:
      readable, results = decoder.decode_readable(positions, records)
      positions = positions[readable]
    else:
      results = decoder(positions, records)
    out[positions] = results
    is_corrupt[positions] = False

  chunks = np.array_split(np.arange(reader.size), -(-reader.size // _CHUNK))
  reads = threads.prefetch(reader.submit, chunks, AHEAD)
  for (positions, _), decoded in threads.prefetch(
    lambda read: pool.submit(decode, *read), reads, AHEAD
  ):
    decoded.result()
    progress.add(len(positions))
  return np.flatnonzero(is_corrupt)

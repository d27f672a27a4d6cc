"""Where the records of TFRecord files lie, and their labels.

Found by reading the files once, in one process of a job, and kept: where the
files are in a bucket beside them, so that the next machine finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import logging
import os
from typing import Any

import numpy as np

from selfie_jax import errors
from selfie_jax.data import disk
from selfie_jax.data import reading
from selfie_jax.data import tf

logger = logging.getLogger(__name__)

# https://www.tensorflow.org/tutorials/load_data/tfrecord: 8 bytes length and 4
# bytes checksum before the data, 4 bytes checksum after it.
_HEADER, _FOOTER = 12, 4
BUFFER = 1 << 22  # bytes read at once
_CHUNK = 256  # records parsed at once
_FOLDER = 'selfie_jax'  # beside the files

# Calls a function in the primary process and gives its result to all.
FromPrimary = Callable[[Callable[[], Any]], Any]


@dataclasses.dataclass(frozen=True)
class Index:
  """The records of some files, in their order.

  Attributes:
    counts: records of each file, int32, [files].
    lengths: bytes of each record, int32, [records].
    labels: int32, [records].
  """

  counts: np.ndarray
  lengths: np.ndarray
  labels: np.ndarray

  def offsets(self, file: int) -> np.ndarray:
    """Where the data of a file's records begin in it, bytes, [records]."""
    begin = int(self.counts[:file].sum())
    return _offsets(self.lengths[begin : begin + self.counts[file]])


def find(paths: Sequence[str], broadcast_from_primary: FromPrimary) -> Index:
  """The index of TFRecord files.

  Args:
    paths: the files, all in one folder.
    broadcast_from_primary: with several processes, calls a function in one of
      them and gives its result to all.

  Raises:
    UserError: a file cannot be read, or is damaged.
  """
  columns = broadcast_from_primary(
    lambda: remembered('index', paths, lambda: _make(paths))
  )
  return Index(columns['counts'], columns['lengths'], columns['labels'])


def remembered(
  what: str, paths: Sequence[str], make: Callable[[], disk.Arrays]
) -> disk.Arrays:
  """`make()`, kept for as long as the files are what they are now.

  It lies in the cache folder and, where the files are in a bucket, beside them.
  """
  key = [what, *reading.pool.map(state, paths)]
  if not reading.is_in_bucket(paths[0]):
    return disk.remembered(key, make)
  path = f'{os.path.dirname(paths[0])}/{_FOLDER}/{disk.digest(key)}.npz'

  def load_or_make() -> disk.Arrays:
    arrays = disk.unpack(path, reading.load_object(path))
    if arrays is None:
      arrays = make()
      try:
        reading.save_object(path, disk.pack(arrays))
      except errors.UserError as error:
        logger.warning(
          'The index of %s cannot be kept: %s. The next machine reads all files'
          ' again',
          os.path.dirname(paths[0]),
          error,
        )
    return arrays

  return disk.remembered(key, load_or_make)


def parse_labels(records: tf.Tensor) -> tf.Tensor:
  """The labels of serialized examples: int64, [n]."""
  label = tf.io.FixedLenFeature([], tf.int64)
  return tf.io.parse_example(records, {'label': label})['label']


def offset(path: str, number: int) -> int:
  """Where the data of a record of a file begin in it, bytes."""
  lengths, _ = disk.patiently(path, _describe(), tf.constant(path))
  return int(_offsets(lengths.numpy())[number])


def _offsets(lengths: np.ndarray) -> np.ndarray:
  steps = lengths.astype(np.int64) + _HEADER + _FOOTER
  return np.cumsum(steps) - steps + _HEADER


def state(path: str) -> tuple[str, int, int]:
  """What is another after a file has changed."""

  def look() -> tuple[int, int]:
    if '://' in path:
      status = tf.io.gfile.stat(path)
      return status.length, status.mtime_nsec
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns

  return os.path.basename(path), *disk.patiently(path, look)


def _describe() -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
  """A function that gives lengths and labels of a file's records."""

  def describe(records):
    return tf.strings.length(records), tf.cast(parse_labels(records), tf.int32)

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def read(path):
    data = tf.data.TFRecordDataset(path, buffer_size=BUFFER)
    data = data.batch(_CHUNK).map(describe).unbatch()
    return data.batch(1 << 62).get_single_element()  # all of a file's

  return read.get_concrete_function()  # traced once for all threads


def _make(paths: Sequence[str]) -> disk.Arrays:
  """Reads all files; decodes no image."""
  describe = _describe()
  progress = disk.Progress(
    f'Looking for the records of {paths[0]}, ...', 'files', len(paths)
  )
  columns = []
  for lengths, labels in reading.pool.map(
    lambda path: disk.patiently(path, describe, tf.constant(path)), paths
  ):
    columns.append((lengths.numpy(), labels.numpy()))
    progress.add(1)
  lengths, labels = zip(*columns, strict=True)
  counts = np.array([len(column) for column in lengths], np.int32)
  return {
    'counts': counts,
    'lengths': np.concatenate(lengths),
    'labels': np.concatenate(labels),
  }

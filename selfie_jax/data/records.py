"""Random access to the encoded images of a prepared tfds split.

Where the records of its files lie and what their labels are is found by reading
the files once, in one process of a job, and cached; for files in a bucket
beside them, where the next machine finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
import errno
import functools
import os
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import reading
from selfie_jax.data import retry
from selfie_jax.data import tf
from selfie_jax.data.photos import images

# https://www.tensorflow.org/tutorials/load_data/tfrecord: 8 bytes length and 4
# bytes checksum before the data, 4 bytes checksum after it.
_HEADER, _FOOTER = 12, 4
# What the library of ArrayRecord says of damage (or nothing), and of the disk.
_DAMAGED = 'Riegeli/records file'
_SYSTEM_ERRORS = [*map(os.strerror, errno.errorcode)]
_BUFFER = 1 << 22  # bytes of a file read at once
_CHUNK = 256  # records parsed at once
_FORMATS = tfds.core.FileFormat.TFRECORD, tfds.core.FileFormat.ARRAY_RECORD


class Records:
  """The examples of a split, TFRecord or ArrayRecord, in their files' order.

  Attributes:
    name: of the data set and the split.
    size: number of examples.
    labels: int32, [size].
    class_names: one string for each label.
    metadata: what stays the same when the files are moved.
    fingerprint: what is another one when a file has changed.
    skip_corrupt: False, an image that cannot be decoded is an error.
    in_bucket: whether the files are in a bucket.
  """

  skip_corrupt = False

  def __init__(self, builder: tfds.core.DatasetBuilder, split):
    """Takes a prepared builder and tfds's split info; opens no file.

    Raises:
      UserError: the files are neither TFRecord nor ArrayRecord.
    """
    self._format = builder.info.file_format
    if self._format not in _FORMATS:
      raise errors.UserError(
        f"Data set '{builder.info.full_name}' is stored as"
        f' {getattr(self._format, "value", self._format)}; prepare it with'
        " download_and_prepare(file_format='tfrecord') or 'array_record'"
      )
    self.name = f'{builder.info.full_name} {split.name}'
    self.size = split.num_examples
    self.class_names = builder.info.features['label'].names
    self.metadata = {'images': self.size, 'classes': list(self.class_names)}
    self._split = split
    parts = split.file_instructions
    counts = {part.filename: part.examples_in_shard for part in parts}
    self._paths = sorted(counts)
    self._counts = np.array([counts[path] for path in self._paths])
    self.in_bucket = reading.is_in_bucket(self._paths[0])
    # Of each example: the number of its file, and its own number there.
    self._files = np.concatenate(
      [np.full(part.take, self._paths.index(part.filename)) for part in parts]
    )
    self._numbers = np.concatenate(
      [np.arange(part.skip, part.skip + part.take) for part in parts]
    )
    # Its number among those of all the files.
    self._firsts = np.cumsum(self._counts) - self._counts
    self._rows = self._firsts[self._files] + self._numbers
    if again := self.size - len(np.unique(self._rows)):
      raise errors.UserError(
        f'{again} examples are twice in the split of {self.name}; choose parts '
        "that do not overlap, such as 'train[:10%]+train[50%:]'"
      )
    self._image = tfds.features.FeaturesDict(
      {'image': builder.info.features['image']}
    )

  @functools.cached_property
  def labels(self) -> np.ndarray:
    return self._index['labels'][self._rows]

  def submit(self, positions: np.ndarray) -> Any:
    """Begins to read serialized examples; `result()` waits for them."""
    if self._format is tfds.core.FileFormat.ARRAY_RECORD:
      rows = self._rows[positions].tolist()
      return reading.pool.submit(
        retry.with_retries, self.name, self._read_arrays, rows
      )
    rows, files = self._rows[positions], self._files[positions]
    offsets = self._offsets[rows] - self._offsets[self._firsts[files]] + _HEADER
    lengths = self._index['lengths'][rows]
    return reading.byte_ranges(self._paths, files, offsets, lengths)

  def read(self, positions: np.ndarray) -> list[bytes]:
    """Reads serialized examples: one bytes for each of the positions."""
    return self.submit(positions).result()

  def encoded_image(self, record: tf.Tensor) -> tf.Tensor:
    """The image's file inside of a record, both string scalars."""
    skip = {'image': tfds.decode.SkipDecoding()}
    return self._image.deserialize_example(record, decoders=skip)['image']

  @functools.cached_property
  def fingerprint(self) -> list:
    return [self._split.name, *self._file_versions]

  def locate(self, position: int) -> str:
    """Where an example lies, in words."""
    path, number = self._paths[self._files[position]], self._numbers[position]
    return f'{path}, example {number}'

  def count_shared(self, other) -> int:
    """How many of the examples are in another split of the set too."""
    shared = 0
    for path in set(self._paths) & set(other._paths):
      ours, theirs = (
        x._numbers[x._files == x._paths.index(path)] for x in (self, other)
      )
      shared += int(np.isin(ours, theirs).sum())
    return shared

  def decode_error(self, record: bytes) -> str:
    """Why the image of a record cannot be decoded; '' if it can."""
    encoded = self.encoded_image(tf.constant(record)).numpy()
    return images.decode_error(encoded, bytes)

  @functools.cached_property
  def _index(self) -> retry.Arrays:
    """'lengths' of all examples of the files, bytes, and their 'labels'."""
    shape = (self._counts.sum(),)
    sizes = [(name, size) for name, size, *_ in self._file_versions]
    distributed.check_equal(sizes, f'files of {self.name}')
    return distributed.broadcast_from_primary(
      lambda: reading.cached(
        ['index', *self._file_versions],
        self._make_index,
        lambda x: x['lengths'].shape == x['labels'].shape == shape,
        os.path.dirname(self._paths[0]),
      )
    )

  @functools.cached_property
  def _file_versions(self) -> list:
    files = reading.fingerprint(self._paths)
    return [(os.path.basename(path), *version) for path, *version in files]

  @functools.cached_property
  def _offsets(self) -> np.ndarray:
    """Where each example begins if the files follow each other, bytes."""
    sizes = self._index['lengths'].astype(np.int64) + _HEADER + _FOOTER
    return np.cumsum(sizes) - sizes

  def _make_index(self) -> retry.Arrays:
    """Reads all files; decodes no image."""
    title = f'Looking for the records of {self._paths[0]}, ...'
    progress = retry.Progress(title, 'files', len(self._paths))
    columns = []
    found_in = reading.pool.map(
      lambda path: retry.with_retries(path, self._describe, path), self._paths
    )
    for found in found_in:
      path, count = self._paths[len(columns)], self._counts[len(columns)]
      if len(found[0]) != count:
        raise errors.UserError(
          f'{path} holds {len(found[0])} examples of {count}; delete its folder'
          ' and prepare the data set again'
        )
      columns.append(found)
      progress.add(1)
    lengths, labels = map(np.concatenate, zip(*columns, strict=True))
    return {'lengths': lengths, 'labels': labels}

  def _describe(self, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Lengths, bytes, and labels of a file's examples: int32."""
    columns = [(np.empty(0, np.int32),) * 2]
    for examples in self._scan(path):
      lengths = tf.strings.length(examples).numpy()
      columns.append((lengths, _parse_labels(examples)))
    lengths, labels = map(np.concatenate, zip(*columns, strict=True))
    return lengths, labels

  def _scan(self, path: str) -> Iterable[tf.Tensor]:
    """The examples of a file in their order, strings [up to 256]."""
    if self._format is tfds.core.FileFormat.TFRECORD:
      data = tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
      return data.batch(_CHUNK).prefetch(2)
    file = self._paths.index(path)
    rows = range(*(self._firsts[file] + [0, self._counts[file]]))
    return (
      tf.constant(self._read_arrays(rows[i : i + _CHUNK]))
      for i in range(0, len(rows), _CHUNK)
    )

  def _read_arrays(self, rows) -> list[bytes]:
    """Examples of ArrayRecord files by their numbers among all of them."""
    try:
      return self._arrays.__getitems__(rows)
    except (errors.UserError, MemoryError):
      raise
    except Exception as error:  # array_record has no class of its own
      self.__dict__.pop('_arrays', None)  # its files are opened again
      why = retry.reason(error)
      is_of_system = any(text in why for text in _SYSTEM_ERRORS)
      if _DAMAGED in why or not (is_of_system or self.in_bucket):
        raise tf.errors.DataLossError(None, None, why) from error
      raise OSError(why) from error

  @functools.cached_property
  def _arrays(self):
    try:
      from array_record.python import array_record_data_source
    except ImportError as error:
      raise errors.UserError(
        f'{self.name} is stored as ArrayRecord: pip install array_record'
      ) from error
    return array_record_data_source.ArrayRecordDataSource(self._paths)


def _parse_labels(examples: tf.Tensor) -> np.ndarray:
  """The labels of serialized examples: int32, [n]."""
  label = tf.io.FixedLenFeature([], tf.int64)
  parsed = tf.io.parse_example(examples, {'label': label})['label']
  return parsed.numpy().astype(np.int32)

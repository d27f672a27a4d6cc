"""Random access to the encoded images of a prepared tfds split."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import functools

import numpy as np
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import datasets
from selfie_jax.data import disk
from selfie_jax.data import index as index_lib
from selfie_jax.data import reading
from selfie_jax.data import tf
from selfie_jax.data.photos import images

_CHUNK = 256  # records given out at once


def open_records(
  builder: tfds.core.DatasetBuilder,
  split,
  broadcast_from_primary: index_lib.FromPrimary = lambda make: make(),
) -> Records:
  """The records of a prepared builder's split, or of parts of one.

  Args:
    builder: of a data set that is on the disk or in a bucket.
    split: tfds's split info.
    broadcast_from_primary: see index.find.

  Raises:
    UserError: they are neither TFRecord nor ArrayRecord.
  """
  file_format = builder.info.file_format
  if file_format is tfds.core.FileFormat.TFRECORD:
    return Records(builder, split, broadcast_from_primary)
  if file_format is tfds.core.FileFormat.ARRAY_RECORD:
    return ArrayRecords(builder, split, broadcast_from_primary)
  raise errors.UserError(
    f"Data set '{builder.info.full_name}' is stored as"
    f' {getattr(file_format, "value", file_format)}; prepare it with'
    " download_and_prepare(file_format='tfrecord') or 'array_record'"
  )


class Records:
  """The examples of a split stored as TFRecord, in the order of its files.

  Where they lie and what their labels are is found on first need.

  Attributes:
    name: of the data set and the split.
    size: number of examples.
    labels: int32, [size].
    class_names: one string for each label.
    metadata: what stays the same when the files are moved.
    may_be_damaged: False, an image that cannot be decoded is an error.
    in_bucket: whether the files are in a bucket.
  """

  may_be_damaged = False

  def __init__(
    self, builder, split, broadcast_from_primary: index_lib.FromPrimary
  ):
    self.name = f'{builder.info.full_name} {split.name}'
    self.size = split.num_examples
    self.class_names = builder.info.features['label'].names
    self.metadata = {'images': self.size, 'classes': list(self.class_names)}
    self._builder, self._split = builder, split
    self._parts = split.file_instructions
    self._paths = sorted({part.filename for part in self._parts})
    self.in_bucket = reading.is_in_bucket(self._paths[0])
    self._image = tfds.features.FeaturesDict(
      {'image': builder.info.features['image']}
    )
    self._from_primary = broadcast_from_primary

  @property
  def labels(self) -> np.ndarray:
    return self._index[3]

  def begin(self, positions: np.ndarray) -> reading.Reading:
    """Begins to read serialized examples."""
    files, offsets, lengths, _ = (column[positions] for column in self._index)
    return reading.pieces(self._paths, files, offsets, lengths)

  def read(self, positions: np.ndarray) -> list[bytes]:
    """Reads serialized examples: one bytes for each of the positions."""
    return self.begin(positions).result()

  def encoded_image(self, record: tf.Tensor) -> tf.Tensor:
    """The image's file inside of a record, both string scalars."""
    skip = {'image': tfds.decode.SkipDecoding()}
    return self._image.deserialize_example(record, decoders=skip)['image']

  def in_order(self) -> Iterator[tuple[np.ndarray, list[bytes]]]:
    """All examples, some at a time: labels int32, serialized examples."""
    batches, done = None, 0

    def read_next():
      nonlocal batches
      try:
        batches = batches or self._batches(done)
        return next(batches, None)
      except Exception:
        batches = None  # to be opened again where it failed
        raise

    while (batch := disk.patiently(self.name, read_next)) is not None:
      labels = index_lib.parse_labels(tf.constant(batch)).numpy()
      yield labels.astype(np.int32), list(batch)
      done += len(batch)
    if done != self.size:
      raise _incomplete(self.name, done, self.size)

  def remembered(
    self, what: list, make: Callable[[], disk.Arrays]
  ) -> disk.Arrays:
    """`make()`, kept in the cache folder for as long as the files stay."""
    states = reading.pool.map(index_lib.state, self._paths)
    return disk.remembered([*what, self._split.name, *states], make)

  def where(self, position: int) -> str:
    """Where an example lies."""
    path, number = self._place(position)
    return f'{path} at byte {index_lib.offset(path, number)}'

  def why_damaged(self, record: bytes) -> str:
    """Why the image of a record cannot be decoded; '' if it can."""
    encoded = self.encoded_image(tf.constant(record)).numpy()
    return images.why_damaged(encoded, bytes)

  def _batches(self, first: int) -> Iterator[np.ndarray]:
    """Batches of the examples from position `first` on.

    tfds would take twice as long to give them out.
    """
    names = [part.filename for part in self._parts]
    ranges = np.array([(p.skip, p.take) for p in self._parts], np.int64)
    data = tf.data.Dataset.from_tensor_slices((names, ranges)).flat_map(
      lambda path, part: (
        tf.data.TFRecordDataset(path, buffer_size=index_lib.BUFFER)
        .skip(part[0])
        .take(part[1])
      )
    )
    return data.skip(first).batch(_CHUNK).prefetch(2).as_numpy_iterator()

  def _place(self, position: int) -> tuple[str, int]:
    """The file of an example, and its number there."""
    ends = np.cumsum([part.take for part in self._parts])
    number = int(np.searchsorted(ends, position, 'right'))
    part = self._parts[number]
    return part.filename, part.skip + position - int(ends[number] - part.take)

  @functools.cached_property
  def _index(self) -> tuple[np.ndarray, ...]:
    """Files (numbers in _paths), offsets, lengths and labels, each [size]."""
    whole = index_lib.find(self._paths, self._from_primary)
    firsts = np.cumsum(whole.counts) - whole.counts
    columns = []
    for part in self._parts:
      file = self._paths.index(part.filename)
      count = int(whole.counts[file])
      if count != part.examples_in_shard:
        raise _incomplete(part.filename, count, part.examples_in_shard)
      taken = slice(part.skip, part.skip + part.take)
      begin = int(firsts[file])
      columns.append(
        (
          np.full(part.take, file),
          whole.offsets(file)[taken],
          whole.lengths[begin : begin + count][taken],
          whole.labels[begin : begin + count][taken],
        )
      )
    return tuple(map(np.concatenate, zip(*columns, strict=True)))


class ArrayRecords(Records):
  """The same of a split stored as ArrayRecord, read by tfds's data source.

  It knows where its records lie; their labels are found as those of TFRecord.
  """

  def begin(self, positions: np.ndarray):
    return reading.pool.submit(self._read, positions)

  def where(self, position: int) -> str:
    path, number = self._place(position)
    return f'{path}, record {number}'

  def _read(self, positions: np.ndarray) -> list[bytes]:
    keys = positions.tolist()

    def read():
      try:
        return list(self._examples.__getitems__(keys))
      except Exception as error:  # array_record has no class of its own
        self.__dict__.pop('_examples', None)  # its files are opened again
        raise OSError(disk.reason(error)) from error

    return disk.patiently(self.name, read)

  def _batches(self, first: int) -> Iterator[np.ndarray]:
    for begin in range(first, self.size, _CHUNK):
      end = min(begin + _CHUNK, self.size)
      yield np.array(self._read(np.arange(begin, end)), object)

  @functools.cached_property
  def labels(self) -> np.ndarray:
    def find() -> np.ndarray:
      def make():
        some = [labels for labels, _ in self.in_order()]
        return {'labels': np.concatenate(some)}

      return index_lib.remembered(self._split.name, self._paths, make)['labels']

    return self._from_primary(find)

  @functools.cached_property
  def _examples(self):
    """tfds's data source; it gives out serialized examples."""
    with datasets.quiet():
      return self._builder.as_data_source(
        self._split.name,
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
      )


def _incomplete(name: str, count: int, expected: int) -> errors.UserError:
  return errors.UserError(
    f'{name} holds {count} examples of {expected}; delete its folder and'
    ' prepare the data set again'
  )

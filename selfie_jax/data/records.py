"""Random access to the encoded images of a tfds split stored as TFRecord."""

from collections.abc import Iterator
from concurrent import futures
import functools

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import datasets
from selfie_jax.data import disk
from selfie_jax.data import images

# https://www.tensorflow.org/tutorials/load_data/tfrecord: 8 bytes length and 4
# bytes checksum before the data, 4 bytes checksum after it.
_HEADER, _FOOTER = 12, 4
_READERS = 16
_BUFFER = 1 << 22  # bytes read at once
_CHUNK = 256  # records given out at once


class Records:
  """The examples of a split, in the order of its files.

  Where a record lies in its file and what its label is are found in one pass
  over the files, on first need, and kept in the cache folder. Files of another
  format than TFRecord can only be read in order; `labels` and `read` raise
  UserError for them.

  Attributes:
    name: of the data set and the split.
    size: number of examples.
    labels: int32, [size].
    class_names: one string for each label.
    facts: what stays the same when the files are moved.
    may_be_damaged: False, an image that cannot be decoded is an error.
    has_random_access: whether the files are TFRecord.
  """

  may_be_damaged = False

  def __init__(self, builder: tfds.core.DatasetBuilder, split):
    """Takes a prepared builder and one of its splits or parts of one."""
    self.name = f'{builder.info.full_name} {split.name}'
    self.size = split.num_examples
    self.class_names = builder.info.features['label'].names
    self.facts = {'images': self.size, 'classes': list(self.class_names)}
    file_format = builder.info.file_format
    self.has_random_access = file_format is tfds.core.FileFormat.TFRECORD
    self._builder, self._split = builder, split
    self._parts = split.file_instructions
    self._paths = sorted({part.filename for part in self._parts})
    self._features = builder.info.features
    self._pool = futures.ThreadPoolExecutor(_READERS, 'records')

  @property
  def labels(self) -> np.ndarray:
    return self._index['labels']

  def read(self, indices: np.ndarray) -> list[bytes]:
    """Reads serialized examples: one bytes for each of the indices."""
    index = self._index
    return list(
      self._pool.map(
        self._read_one,
        index['files'][indices].tolist(),
        index['offsets'][indices].tolist(),
        index['lengths'][indices].tolist(),
      )
    )

  def encoded_image(self, record: tf.Tensor) -> tf.Tensor:
    """The image's file inside of a record, both string scalars."""
    if not self.has_random_access:
      return record
    image = tfds.features.FeaturesDict({'image': self._features['image']})
    skip = {'image': tfds.decode.SkipDecoding()}
    return image.deserialize_example(record, decoders=skip)['image']

  def in_order(self) -> Iterator[tuple[np.ndarray, list[bytes]]]:
    """All examples, some at a time: labels int32, records.

    Records are serialized examples of TFRecord files, else image files.
    """
    labels = self.labels if self.has_random_access else None
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
      if self.has_random_access:
        end = done + len(batch)
        yield labels[done:end], list(batch)
      else:
        end = done + len(batch['image'])
        yield batch['label'].astype(np.int32), list(batch['image'])
      done = end
    if done != self.size:
      raise _incomplete(self.name, done, self.size)

  def _batches(self, first: int) -> Iterator:
    """Batches of the examples from position `first` on.

    tfds would take twice as long to give out those of TFRecord files.
    """
    if self.has_random_access:
      names = [part.filename for part in self._parts]
      ranges = np.array([(p.skip, p.take) for p in self._parts], np.int64)
      data = tf.data.Dataset.from_tensor_slices((names, ranges))
      data = data.flat_map(
        lambda path, part: (
          tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
          .skip(part[0])
          .take(part[1])
        )
      )
    else:
      with datasets.quiet():
        data = self._builder.as_dataset(
          split=self._split.name,
          decoders={'image': tfds.decode.SkipDecoding()},
          # One file after the other, as the examples are counted here.
          read_config=tfds.ReadConfig(
            interleave_cycle_length=1, try_autocache=False
          ),
        )
    return data.skip(first).batch(_CHUNK).prefetch(2).as_numpy_iterator()

  def where(self, position: int) -> str:
    """Where an example lies."""
    if not self.has_random_access:
      return f'example {position} of {self.name}'
    index = self._index
    path = self._parts[index['files'][position]].filename
    return f'{path} at byte {index["offsets"][position]}'

  def why_damaged(self, record: bytes) -> str:
    """Why the image of a record cannot be decoded; '' if it can."""
    encoded = self.encoded_image(tf.constant(record)).numpy()
    return images.why_damaged(encoded, bytes)

  def _read_one(self, file: int, offset: int, length: int) -> bytes:
    return disk.read(self._parts[file].filename, offset, length)

  @functools.cached_property
  def _index(self) -> dict[str, np.ndarray]:
    """files, offsets, lengths, labels of the examples, each [size]."""
    if not self.has_random_access:
      file_format = self._builder.info.file_format
      raise errors.UserError(
        f"Data set '{self._builder.info.full_name}' is stored as"
        f' {getattr(file_format, "value", file_format)}; images that do not'
        ' stay decoded in memory are read from TFRecord files: prepare it with'
        " download_and_prepare(file_format='tfrecord'), or raise"
        ' --config.dataset.cache_gib with --config.augment.crop=pad.'
      )
    paths = self._paths
    whole = disk.remembered(
      [paths, _sizes(paths, self._pool)],
      lambda: _make_index(paths, self._features['label'], self._pool),
    )
    numbers = {path: number for number, path in enumerate(paths)}
    rows, files = [], []
    for number, part in enumerate(self._parts):
      first, end = np.searchsorted(
        whole['files'], numbers[part.filename] + np.arange(2)
      )
      if end - first != part.examples_in_shard:
        raise _incomplete(part.filename, end - first, part.examples_in_shard)
      rows.append(np.arange(first, end)[part.skip :][: part.take])
      files.append(np.full(rows[-1].size, number))
    rows = np.concatenate(rows)
    index = {name: column[rows] for name, column in whole.items()}
    return index | {'files': np.concatenate(files)}


def _sizes(paths: list[str], pool: futures.Executor) -> list[int]:
  """Bytes of each file."""

  def size(path: str) -> int:
    return disk.patiently(path, tf.io.gfile.stat, path).length

  return list(pool.map(size, paths))


def _incomplete(name: str, count: int, expected: int) -> errors.UserError:
  return errors.UserError(
    f'{name} holds {count} examples of {expected}; delete its folder and'
    ' prepare the data set again'
  )


def _make_index(
  paths: list[str],
  label: tfds.features.ClassLabel,
  pool: futures.Executor,
) -> dict[str, np.ndarray]:
  """Finds every record of the files; decodes no image."""
  features = tfds.features.FeaturesDict({'label': label})

  def describe(record):
    example = features.deserialize_example(record)
    return tf.strings.length(record), tf.cast(example['label'], tf.int32)

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def read(path):
    records = tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
    # All of a file's in one batch.
    return records.map(describe).batch(1 << 62).get_single_element()

  read = read.get_concrete_function()  # traced once for all threads

  progress = disk.Progress(f'Looking for the records of {paths[0]}, ...',
                           'files', len(paths))  # fmt: skip
  columns = []
  found = pool.map(
    lambda path: disk.patiently(path, read, tf.constant(path)), paths
  )
  for number, (lengths, labels) in enumerate(found):
    lengths = lengths.numpy()
    steps = lengths.astype(np.int64) + _HEADER + _FOOTER
    columns.append(
      {
        'files': np.full(lengths.size, number, np.int32),
        'offsets': np.cumsum(steps) - steps + _HEADER,
        'lengths': lengths,
        'labels': labels.numpy(),
      }
    )
    progress.add(1)
  return {
    name: np.concatenate([column[name] for column in columns])
    for name in columns[0]
  }

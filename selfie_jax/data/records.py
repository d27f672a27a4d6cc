"""Random access to the encoded images of a tfds split stored as TFRecord."""

from collections.abc import Callable
from concurrent import futures
import functools
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import cache
from selfie_jax.data import datasets

# https://www.tensorflow.org/tutorials/load_data/tfrecord: 8 bytes length and 4
# bytes checksum before the data, 4 bytes checksum after it.
_HEADER, _FOOTER = 12, 4
_READERS = 16
_BUFFER = 1 << 22  # bytes read at once


class Records:
  """The examples of a split, in the order of its files.

  Where a record lies in its file and what its label is are found in one pass
  over the files, on first need, and kept in the cache folder. Files of another
  format than TFRecord can only be read in order; `labels`, `read` and
  `describe` raise UserError for them.

  Attributes:
    name: of the data set and the split.
    size: number of examples.
    labels: int32, [size].
    class_names: one string for each label.
    facts: what stays the same when the files are moved.
    has_random_access: whether the files are TFRecord.
  """

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
    """The image's file inside a serialized example, both string scalars."""
    image = tfds.features.FeaturesDict({'image': self._features['image']})
    skip = {'image': tfds.decode.SkipDecoding()}
    return image.deserialize_example(record, decoders=skip)['image']

  def in_order(
    self, decode: Callable[[tf.Tensor], tf.Tensor]
  ) -> tf.data.Dataset:
    """All examples: position int64, label int32, decode(encoded image)."""
    features = tfds.features.FeaturesDict(
      {name: self._features[name] for name in ('image', 'label')}
    )
    decoders = {'image': tfds.decode.SkipDecoding()}

    def split_up(position, example):
      if self.has_random_access:
        example = features.deserialize_example(example, decoders=decoders)
      label = tf.cast(example['label'], tf.int32)
      return position, label, decode(example['image'])

    return self._examples(decoders).enumerate().map(split_up, tf.data.AUTOTUNE)

  def _examples(self, decoders: dict) -> tf.data.Dataset:
    """All examples in order: records of TFRecord files, else what tfds reads.

    tfds would take twice as long to give out those of TFRecord files.
    """
    if self.has_random_access:
      names = [part.filename for part in self._parts]
      ranges = np.array([(p.skip, p.take) for p in self._parts], np.int64)
      data = tf.data.Dataset.from_tensor_slices((names, ranges))
      return data.flat_map(
        lambda path, part: (
          tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
          .skip(part[0])
          .take(part[1])
        )
      )
    with datasets.quiet():
      return self._builder.as_dataset(
        split=self._split.name,
        decoders=decoders,
        # One file after the other, as the examples are counted here.
        read_config=tfds.ReadConfig(
          interleave_cycle_length=1, try_autocache=False
        ),
      )

  def remembered(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """`make()`, kept in the cache folder for as long as the files stay."""
    parts = [(p.filename, p.skip, p.take) for p in self._parts]
    key = [name, parts, _sizes(self._paths, self._pool)]
    return cache.remembered(key, lambda: {name: make()})[name]

  def describe(self, position: int) -> str:
    """Where an example lies and why its image cannot be decoded, if so."""
    index = self._index
    path = self._parts[index['files'][position]].filename
    where = f'{os.path.basename(path)} at byte {index["offsets"][position]}'
    encoded = self.encoded_image(self.read(np.array([position]))[0])
    try:
      tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except tf.errors.OpError as error:
      return f'{where} ({" ".join(error.message.split())[:80]})'
    return where

  def _read_one(self, file: int, offset: int, length: int) -> bytes:
    path = self._parts[file].filename
    # The plain open is several times faster; gfile knows gs:// and its like.
    opener = tf.io.gfile.GFile if '://' in path else open
    with opener(path, 'rb') as stream:
      stream.seek(offset)
      record = stream.read(length)
    if len(record) != length:
      raise OSError(f'{path} has become shorter while it was being read')
    return record

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
    whole = cache.remembered(
      [paths, _sizes(paths, self._pool)],
      lambda: _make_index(paths, self._features['label']),
    )
    numbers = {path: number for number, path in enumerate(paths)}
    rows, files = [], []
    for number, part in enumerate(self._parts):
      first, end = np.searchsorted(
        whole['files'], numbers[part.filename] + np.arange(2)
      )
      if end - first != part.examples_in_shard:
        raise errors.UserError(
          f'{part.filename} holds {end - first} examples of'
          f' {part.examples_in_shard}; delete its folder and prepare the data'
          ' set again.'
        )
      rows.append(np.arange(first, end)[part.skip :][: part.take])
      files.append(np.full(rows[-1].size, number))
    rows = np.concatenate(rows)
    index = {name: column[rows] for name, column in whole.items()}
    return index | {'files': np.concatenate(files)}


def _sizes(paths: list[str], pool: futures.Executor) -> list[int]:
  """Bytes of each file."""
  return list(pool.map(lambda path: tf.io.gfile.stat(path).length, paths))


def _make_index(
  paths: list[str], label: tfds.features.ClassLabel
) -> dict[str, np.ndarray]:
  """Finds every record of the files; decodes no image."""
  features = tfds.features.FeaturesDict({'label': label})

  def describe(number, record):
    example = features.deserialize_example(record)
    return (
      tf.cast(number, tf.int32),
      tf.strings.length(record),
      tf.cast(example['label'], tf.int32),
    )

  def open_file(number, path):
    records = tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
    return records.map(lambda record: describe(number, record))

  data = tf.data.Dataset.from_tensor_slices((np.arange(len(paths)), paths))
  data = data.interleave(
    open_file,
    cycle_length=min(len(paths), 16),
    num_parallel_calls=tf.data.AUTOTUNE,
    deterministic=True,
  ).batch(4096)
  try:
    batches = list(data.as_numpy_iterator())
  except tf.errors.DataLossError as error:
    raise errors.UserError(
      f'A file of {os.path.dirname(paths[0])} is damaged ({error.message});'
      ' delete the folder and prepare the data set again.'
    ) from error
  files, lengths, labels = (
    np.concatenate(column) for column in zip(*batches, strict=True)
  )
  # Files are read side by side, but each in its own order.
  order = np.argsort(files, kind='stable')
  files, lengths, labels = files[order], lengths[order], labels[order]
  steps = lengths.astype(np.int64) + _HEADER + _FOOTER
  starts = np.cumsum(steps) - steps
  first_of_file = starts[np.searchsorted(files, files)]
  return {
    'files': files,
    'offsets': starts - first_of_file + _HEADER,
    'lengths': lengths,
    'labels': labels,
  }

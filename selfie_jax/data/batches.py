"""Batches as a pure function of (data set, seed, step).

There is no shuffle buffer: the examples of a step are known by their position
in the stream, so any step can be the first one, on any number of processes.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import logging
import math

import numpy as np

from selfie_jax import errors
from selfie_jax.data import datasets
from selfie_jax.data import records
from selfie_jax.data import shuffle
from selfie_jax.data import sources
from selfie_jax.data.photos import folder

Batch = dict[str, np.ndarray]
Reader = records.Records | folder.Folder

logger = logging.getLogger(__name__)


def train_batches(
  source: sources.Source,
  indices: np.ndarray | None,
  config,
  first_step: int,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Augmented batches of the steps first_step..total_steps - 1.

  The stream goes through the examples epoch after epoch, each in an order
  drawn from (seed, epoch); a batch may span the end of an epoch. Examples of a
  block of dataset.shuffle_block follow each other in it.

  Args:
    source: the split.
    indices: which of its examples to train on, [n]; None for all.
    config: its seed, batch_size (of all processes), total_steps, augment and
      dataset.shuffle_block.
    first_step: where to start; every step costs the same to start at.
    process_index: whose rows of each batch to give out.
    process_count: number of processes; a divisor of the batch size.

  Returns:
    An iterator of 'image' uint8 [local_batch, s, s, 3], 'label' int32 and
    'index' int32 [local_batch], the position in the global batch.
  """
  rows = _local_rows(config.batch_size, process_index, process_count)
  if indices is None:
    indices = np.arange(source.size)
  labels = source.labels
  specs = (
    _draw(config, indices, step, rows)
    for step in range(first_step, config.total_steps)
  )
  return (
    {
      'image': images,
      'label': labels[spec.indices],
      'index': rows.astype(np.int32),
    }
    for spec, images in source.train_images(specs, config.augment)
  )


def eval_batches(
  source: sources.Source,
  indices: np.ndarray | None,
  batch_size: int,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Every example once, in order, without augmentation.

  Args:
    source: the split.
    indices: which of its examples, [n]; None for all.
    batch_size: of all processes; the last batch is filled up with zeros.
    process_index: whose rows of each batch to give out.
    process_count: number of processes; a divisor of the batch size.

  Returns:
    An iterator, equally long for each process, of 'image' uint8
    [local_batch, s, s, 3], 'label' int32, 'index' int32 (position in the
    split) and 'mask' float32 (1 for an example, 0 for filling), [local_batch].
  """
  rows = _local_rows(batch_size, process_index, process_count)
  if indices is None:
    indices = np.arange(source.size)
  labels = source.labels
  # The last batch may have nothing for the last processes.
  parts = [
    indices[start + rows[rows < len(indices) - start]]
    for start in range(0, len(indices), batch_size)
  ]
  return (
    {
      'image': _fill(images, len(rows)),
      'label': _fill(labels[part], len(rows)),
      'index': _fill(part.astype(np.int32), len(rows)),
      'mask': _fill(np.ones(part.size, np.float32), len(rows)),
    }
    for part, images in zip(parts, source.eval_images(parts), strict=True)
  )


def shard(batch: Batch, devices: int) -> Batch:
  """Lays a batch out over devices: [batch, ...] to [devices, share, ...]."""
  return {
    name: value.reshape((devices, -1) + value.shape[1:])
    for name, value in batch.items()
  }


def open_sources(config) -> tuple[sources.Source, sources.Source]:
  """Opens the training and the test images of the config's data set.

  Own images that cannot be decoded are found here, in both splits. With several
  processes one looks for them, and all leave out the same ones.

  Raises:
    UserError: no such data set or split, the set cannot be had, both splits are
      the same images, or more than dataset.max_unreadable of the images of a
      split cannot be decoded.
  """
  names = config.dataset.train_split, config.dataset.test_split
  readers = _open_readers(config, names)
  _check_shared(*(readers[name] for name in names))
  train = sources.Source(readers[names[0]], config)
  test = sources.Source(readers[names[1]], config, train.memory_gib)
  both = [source.describe_unreadable() for source in (train, test)]
  share = max(share for share, _ in both)
  damage = '; and '.join(text for _, text in both if text)
  if share == 1:
    raise errors.UserError(f'{damage}. Not one is left')
  if share > config.dataset.max_unreadable:
    enough = math.ceil(share * 1000) / 1000  # for both
    raise errors.UserError(
      f'{damage}. Fix or remove them, or leave them out with'
      f' --config.dataset.max_unreadable={enough:g} or more'
    )
  if damage:
    logger.warning('%s. They are left out', damage)
  for source in (train, test):
    _ = source.labels  # found here by all processes, in the same order
    source.warn_if_black()
  untrained = np.setdiff1d(test.labels, np.append(train.labels, -1))
  if config.mode != 'pretrain' and untrained.size:
    logger.warning(
      'No image to train on is left of the classes %s, which are tested on',
      ', '.join(test.class_names[label] for label in untrained.tolist()),
    )
  return train, test


def read_metadata(config) -> dict[str, dict[str, object]]:
  """Metadata of both splits, as far as known without opening an image."""
  names = config.dataset.train_split, config.dataset.test_split
  train, test = map(_open_readers(config, names).get, names)
  return {'train': train.metadata, 'test': test.metadata}


def open_source(config, split_name: str) -> sources.Source:
  """Opens one split, without those checks; reads no image yet."""
  return sources.Source(open_reader(config, split_name), config)


def open_reader(config, split_name: str) -> Reader:
  """Opens the encoded images of a split."""
  return _open_readers(config, [split_name])[split_name]


def _open_readers(config, names: Sequence[str]) -> dict[str, Reader]:
  if config.dataset.name == 'folder':
    readers = folder.open_splits(config.dataset, config.mode != 'pretrain')
    for name in set(names) - set(readers):
      raise errors.UserError(
        f"'{name}' is not a split of {config.dataset.path}; valid are"
        f' {", ".join(map(repr, readers))}'
      )
    return readers
  builder = datasets.open_builder(config.dataset)
  return {
    name: records.Records(builder, datasets.open_split(builder, name))
    for name in names
  }


def _check_shared(train: Reader, test: Reader) -> None:
  """Warns if test images are trained on; UserError if both are the same."""
  others = (
    'choose others with --config.dataset.train_split and .test_split (of a tfds'
    " set also parts, such as 'train[:90%]' and 'train[90%:]')"
  )
  shared = test.count_shared(train)
  if shared == train.size == test.size:
    raise errors.UserError(
      f'the training and the test images are the same, {test.name}: {others}'
    )
  if shared:
    which = f'{shared} of the {test.size} images of {test.name}'
    logger.warning('%s are trained on too: %s', which, others)


def _draw(
  config, indices: np.ndarray, step: int, rows: np.ndarray
) -> sources.BatchSpec:
  """Which examples are in some rows of a step's batch, and how they look."""
  # Drawn for the global batch, so that a process does not change them.
  draw = shuffle.generator(config.seed, shuffle.AUGMENT, step)
  size, augment = config.batch_size, config.augment
  reach = 2 * augment.padding if augment.crop == 'pad' else 0
  offsets = draw.integers(0, reach + 1, (size, 2))
  seeds = draw.integers(0, 2**31, (size, 2), np.int32)
  flips = draw.integers(0, 2, size).astype(bool) & augment.flip
  block = config.dataset.shuffle_block
  places = shuffle.stream(config.seed, len(indices), block, step * size + rows)
  crops = seeds if augment.crop == 'random_resized' else offsets
  return sources.BatchSpec(indices[places], crops[rows], flips[rows])


def _local_rows(
  batch_size: int, process_index: int, process_count: int
) -> np.ndarray:
  """The rows of a global batch that a process gives out, [local_batch]."""
  if batch_size % process_count:
    raise errors.UserError(
      f'The batch of {batch_size} cannot be shared by {process_count}'
      f' processes; type a multiple of {process_count}.'
    )
  local = batch_size // process_count
  return np.arange(process_index * local, (process_index + 1) * local)


def _fill(values: np.ndarray, count: int) -> np.ndarray:
  """Zeros behind the values: [count, ...]."""
  out = np.zeros((count, *values.shape[1:]), values.dtype)
  out[: len(values)] = values
  return out

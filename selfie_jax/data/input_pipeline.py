"""Batches as a pure function of (data set, seed, step).

There is no shuffle buffer: the examples of a step are known by their position
in the stream, so any step can be the first one, on any number of processes.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import itertools
import logging
import math

import numpy as np

from selfie_jax import errors
from selfie_jax.data import datasets
from selfie_jax.data import index
from selfie_jax.data import records
from selfie_jax.data import shuffle
from selfie_jax.data import sources
from selfie_jax.data.photos import folder

Batch = dict[str, np.ndarray]

logger = logging.getLogger(__name__)


def open_sources(
  config, broadcast_from_primary: index.FromPrimary = lambda make: make()
) -> tuple[sources.Source, sources.Source]:
  """Opens the training and the test images of the config's data set.

  Own images that cannot be decoded are found here, in both splits.

  Args:
    config: the job's.
    broadcast_from_primary: with several processes, calls a function in one of
      them and gives its array to all, so that all leave out the same images.

  Raises:
    UserError: no such data set or split, the set cannot be had, or more than
      dataset.max_unreadable of the images of a split cannot be decoded.
  """
  names = config.dataset.train_split, config.dataset.test_split
  stores = _open_stores(config, names, broadcast_from_primary)
  both = tuple(
    sources.Source(stores[name], config, broadcast_from_primary)
    for name in names
  )
  shares, named = zip(
    *(source.check_left_out() for source in both), strict=True
  )
  damage = '; and '.join(filter(None, named))
  if max(shares) == 1:
    raise errors.UserError(f'{damage}. Not one is left')
  if max(shares) > config.dataset.max_unreadable:
    enough = math.ceil(max(shares) * 1000) / 1000  # for both
    raise errors.UserError(
      f'{damage}. Mend them, take them away, or leave them out with'
      f' --config.dataset.max_unreadable={enough:g} or more'
    )
  if damage:
    logger.warning('%s. They are left out', damage)
  for source in both:
    if not source.in_memory:
      _ = source.labels  # in all processes, as one of them finds them
  return both


def read_metadata(config) -> dict[str, dict[str, object]]:
  """What both splits are, as far as it is known without opening an image."""
  names = config.dataset.train_split, config.dataset.test_split
  stores = _open_stores(config, names)
  return {'train': stores[names[0]].metadata, 'test': stores[names[1]].metadata}


def open_source(config, split_name: str) -> sources.Source:
  """Opens one split, without those checks; reads no image yet."""
  return sources.Source(open_store(config, split_name), config)


def open_store(config, split_name: str) -> records.Records | folder.Folder:
  """Opens the encoded images of a split."""
  return _open_stores(config, [split_name])[split_name]


def _open_stores(
  config,
  names: Sequence[str],
  broadcast_from_primary: index.FromPrimary = lambda make: make(),
) -> dict[str, records.Records | folder.Folder]:
  if config.dataset.name == 'folder':
    stores = folder.open_splits(config.dataset, config.mode != 'pretrain')
    for name in set(names) - set(stores):
      raise errors.UserError(
        f"'{name}' is not a split of {config.dataset.path}; valid are"
        f' {", ".join(map(repr, stores))}'
      )
    return stores
  builder = datasets.open_builder(config.dataset)
  return {
    name: records.open_records(
      builder, datasets.open_split(builder, name), broadcast_from_primary
    )
    for name in names
  }


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
  aug = config.augment
  reach = 2 * aug.padding if aug.crop == 'pad' else 0

  def plan(step: int) -> sources.Plan:
    # Drawn for the global batch, so that a process does not change them.
    draw = shuffle.generator(config.seed, shuffle.AUGMENT, step)
    offsets = draw.integers(0, reach + 1, (config.batch_size, 2))
    seeds = draw.integers(0, 2**31, (config.batch_size, 2), np.int32)
    flips = draw.integers(0, 2, config.batch_size).astype(bool) & aug.flip
    positions = step * config.batch_size + rows
    block = config.dataset.shuffle_block
    chosen = indices[
      shuffle.stream(config.seed, len(indices), block, positions)
    ]
    return sources.Plan(chosen, offsets[rows], seeds[rows], flips[rows])

  plans = map(plan, range(first_step, config.total_steps))
  return (
    {
      'image': images,
      'label': labels[plan.indices],
      'index': rows.astype(np.int32),
    }
    for plan, images in source.train_images(plans, aug)
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
  side = source.image_size

  parts = [
    indices[start + rows[rows < len(indices) - start]]
    for start in range(0, len(indices), batch_size)
  ]
  images = source.eval_images(part for part in parts if part.size)
  # The last batch may have nothing for the last processes.
  nothing = np.empty((0, side, side, 3), np.uint8)
  images = itertools.chain(images, itertools.repeat(nothing))
  return (
    {
      'image': _fill(image, len(rows)),
      'label': _fill(labels[part], len(rows)),
      'index': _fill(part.astype(np.int32), len(rows)),
      'mask': _fill(np.ones(part.size, np.float32), len(rows)),
    }
    for part, image in zip(parts, images, strict=False)
  )


def shard(batch: Batch, devices: int) -> Batch:
  """Lays a batch out over devices: [batch, ...] to [devices, share, ...]."""
  return {
    name: value.reshape((devices, -1) + value.shape[1:])
    for name, value in batch.items()
  }


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

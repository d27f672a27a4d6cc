"""Batches of images made on all cores, given out in their order."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import functools
import logging
from typing import Any

import numpy as np

from selfie_jax import cache
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import disk
from selfie_jax.data import tf

logger = logging.getLogger(__name__)

# So many threads make batches in memory, and so many batches lie ready.
_WORKERS, _AHEAD = 2, 4


def ahead(
  begin: Callable[[Any], Any], arguments: Iterable, count: int
) -> Iterator[tuple[Any, Any]]:
  """Each argument and the result of what `begin` began with it, in order.

  Args:
    begin: gives a future, or something else with `result` and `cancel`.
    arguments: taken as late as can be.
    count: so many are begun beside the one that is waited for.
  """
  pending = collections.deque()
  try:
    for argument in arguments:
      pending.append((argument, begin(argument)))
      if len(pending) > count:
        argument, future = pending.popleft()
        yield argument, future.result()
    while pending:
      argument, future = pending.popleft()
      yield argument, future.result()
  finally:
    for _, future in pending:
      future.cancel()


def gather(
  function: Callable[..., np.ndarray], arguments: Iterable
) -> Iterator[tuple[Any, np.ndarray]]:
  """Each argument and its result, computed before it is asked for."""
  cache.keep_memory()  # half of the time without, after `decode_images`
  with futures.ThreadPoolExecutor(_WORKERS, 'batches') as pool:
    yield from ahead(
      functools.partial(pool.submit, function), arguments, _AHEAD
    )


def decode(
  store,
  parts: Iterable[tuple[np.ndarray, tuple]],
  function: Callable,
  specs: Iterable[tf.TensorSpec],
  batch_size: int,
  leave_out: bool = False,
) -> Iterator:
  """Batches of `function(record, *arguments)`, computed by TensorFlow.

  Args:
    store: where the records are from, folder.Folder or records.Records.
    parts: positions in the store, and (records, *arguments) of each.
    function: gives tensors for one.
    specs: of the arguments.
    batch_size: of what is given out.
    leave_out: whether an image that cannot be decoded is left out; else it is
      an error.

  Raises:
    UserError: such an image, named; or what `parts` raises.
  """
  at_work, raised = collections.deque(), []

  def feed():
    try:
      for positions, columns in parts:
        if not leave_out:
          at_work.append((positions, columns[0]))
        yield columns
    except Exception as error:  # TensorFlow would make one of its own of it
      raised.append(error)

  signature = (tf.TensorSpec([None], tf.string), *specs)
  data = tf.data.Dataset.from_generator(feed, output_signature=signature)
  data = data.prefetch(2).unbatch()
  data = data.map(function, tf.data.AUTOTUNE, deterministic=True)
  if leave_out:
    data = data.ignore_errors()
  finished = 0
  try:
    for batch in data.batch(batch_size).prefetch(2).as_numpy_iterator():
      yield batch
      finished += len(batch[0]) if isinstance(batch, tuple) else len(batch)
      while at_work and len(at_work[0][0]) <= finished:
        finished -= len(at_work.popleft()[0])
  except tf.errors.OpError as error:
    raise _damaged(store, at_work, error) from error
  if raised:
    raise raised[0]


def decode_images(store, side: int) -> disk.Arrays:
  """A whole store as evaluation sees it, without the images left out.

  Args:
    store: see `decode`.
    side: of the images, pixels.

  Returns:
    'images' uint8 [n, side, side, 3], 'labels' int32 [n] and 'positions' in
    the store int64 [n].
  """
  images = np.empty((store.size, side, side, 3), np.uint8)
  labels = np.empty(store.size, np.int32)
  positions, end = np.empty(store.size, np.int64), 0
  for some, label, image in _decode_all(
    store, lambda encoded: augment.decode_whole(encoded, side)
  ):
    first, end = end, end + len(some)
    positions[first:end], labels[first:end] = some, label
    images[first:end] = image
  return {
    'images': images[:end],
    'labels': labels[:end],
    'positions': positions[:end],
  }


def find_damaged(store) -> disk.Arrays:
  """Positions of the images of a store that cannot be decoded: 'damaged'."""
  logger.info(
    'Decoding the %d images of %s once, to find any that cannot be',
    store.size,
    store.name,
  )
  readable = [
    positions for positions, _, _ in _decode_all(store, augment.full_shape)
  ]
  every = np.arange(store.size)
  return {'damaged': np.setdiff1d(every, np.concatenate([[], *readable]))}


def _decode_all(
  store, function: Callable[[tf.Tensor], tf.Tensor]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Batches (positions, labels, function(encoded image)) of a whole store.

  Damaged images are left out where the store says so; else see `decode`.
  """

  def parts():
    end = 0
    for labels, some in store.in_order():
      first, end = end, end + len(labels)
      positions = np.arange(first, end)
      yield positions, (some, positions, labels)

  def decode_one(record, position, label):
    return position, label, function(store.encoded_image(record))

  specs = [tf.TensorSpec([None], dtype) for dtype in (tf.int64, tf.int32)]
  progress = disk.Progress(f'Decoding {store.name}', 'images', store.size)
  for batch in decode(
    store, parts(), decode_one, specs, 1024, store.may_be_damaged
  ):
    progress.add(len(batch[0]))
    yield batch


def _damaged(
  store, at_work: collections.deque, error: tf.errors.OpError
) -> errors.UserError:
  """Says which of the images that were being decoded cannot be."""
  while at_work:
    positions, contents = at_work.popleft()
    for position, content in zip(positions, contents, strict=True):
      if why := store.why_damaged(content):
        return errors.UserError(
          f'an image of {store.name} cannot be decoded:'
          f' {store.where(position)} ({why}). Put a good copy there, or prepare'
          ' the data set again, and type the same command again'
        )
  return errors.UserError(
    f'the images of {store.name} cannot be decoded ({disk.reason(error)})'
  )

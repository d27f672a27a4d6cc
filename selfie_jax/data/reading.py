"""Many byte ranges of files are read at once, which hides each one's latency.

One pool of threads reads them from a disk or a bucket (gs://). A bucket is read
by tensorstore, which keeps its connections open; TensorFlow's reader opens one
for each range and asks for 64 MiB of it.
"""

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import functools
import itertools
import logging
import os
from typing import Any

import numpy as np
import tensorstore

from selfie_jax import errors
from selfie_jax.data import retry
from selfie_jax.data import tf
from selfie_jax.data import threads

logger = logging.getLogger(__name__)

THREADS = 128
_BUCKETS = 'gs://'
_FOLDER = 'selfie_jax'  # in a bucket, beside the files
_SECONDS = 60  # a bucket that takes longer to answer has failed
_LAST_SECONDS = 10  # the same at the end of the process
# Ranges of a file that lie so close are read together, up to so many bytes.
_GAP, _LONGEST = 1 << 16, 1 << 23
_CHUNK = 16  # files that a thread looks at

pool = threads.Pool(THREADS)


@dataclasses.dataclass(frozen=True)
class PendingRead:
  """Byte ranges of files that are being read.

  Attributes:
    requests: contents to come, of one range or of several neighbours.
    ranges: for each range the number of its request, and start and end in it.
  """

  requests: Sequence[futures.Future]
  ranges: Sequence[tuple[int, int | None, int | None]]

  def result(self) -> list[bytes]:
    """Waits for the contents; UserError if one cannot be read."""
    contents = [request.result() for request in self.requests]
    return [contents[number][start:end] for number, start, end in self.ranges]

  def cancel(self) -> None:
    """Gives up what has not begun yet."""
    for request in self.requests:
      request.cancel()


def whole_files(paths: Sequence[str]) -> PendingRead:
  """Begins to read files."""
  return PendingRead(
    [pool.submit(read, path) for path in paths],
    [(number, None, None) for number in range(len(paths))],
  )


def byte_ranges(
  paths: Sequence[str],
  files: np.ndarray,
  offsets: np.ndarray,
  lengths: np.ndarray,
) -> PendingRead:
  """Begins to read ranges of files, neighbours in one request.

  Args:
    paths: the files.
    files: which of them each range is in, integers, [n].
    offsets: where it begins there, bytes, [n].
    lengths: bytes, [n].
  """
  spans: list[list[int]] = []  # file, start and end of each request
  ranges: list[Any] = [None] * len(files)
  order = np.lexsort((offsets, files))
  columns = (order, files[order], offsets[order], lengths[order])
  for place, file, start, length in zip(
    *(column.tolist() for column in columns), strict=True
  ):
    end = start + length
    last = spans[-1] if spans else [-1, 0, 0]
    if file != last[0] or start > last[2] + _GAP or end > last[1] + _LONGEST:
      last = [file, start, end]
      spans.append(last)
    last[2] = max(last[2], end)
    ranges[place] = len(spans) - 1, start - last[1], end - last[1]
  requests = [
    pool.submit(read, paths[file], start, end - start)
    for file, start, end in spans
  ]
  return PendingRead(requests, ranges)


def read(path: str, offset: int = 0, length: int = -1) -> bytes:
  """Reads a file, or `length` bytes of it; see retry.with_retries."""
  return retry.with_retries(path, _read_once, path, offset, length)


def _read_once(path: str, offset: int, length: int) -> bytes:
  if is_in_bucket(path):
    end = None if length < 0 else offset + length
    content = _ask(path, 'read', byte_range=slice(offset, end))
    if content is None:
      raise FileNotFoundError('the bucket has no such object')
  else:
    # The plain open is several times faster; gfile knows s3:// and its like.
    opener = tf.io.gfile.GFile if '://' in path else open
    with opener(path, 'rb') as stream:
      if offset:
        stream.seek(offset)
      content = stream.read(length)
  if len(content) < length:
    raise OSError(f'it ends before byte {offset + length}')
  return content


def is_in_bucket(path: str) -> bool:
  """Whether a path is that of an object in a bucket."""
  return path.startswith(_BUCKETS)


def cached(
  key: list,
  make: Callable[[], retry.Arrays],
  fits: Callable[[retry.Arrays], bool],
  folder: str,
) -> retry.Arrays:
  """As retry.cached; beside the files too where their folder is in a bucket."""
  if not is_in_bucket(folder):
    return retry.cached(key, make, fits)
  path = f'{folder}/{_FOLDER}/{retry.digest(key)}.npz'

  def load_or_make() -> retry.Arrays:
    content = retry.with_retries(path, _ask, path, 'read')
    arrays = retry.unpack(path, content, fits)
    if arrays is None:
      arrays = make()
      try:
        retry.with_retries(path, _ask, path, 'write', retry.pack(arrays))
      except errors.UserError as error:
        logger.warning(
          'The index of %s cannot be stored: %s. The next machine reads all'
          ' files again',
          folder,
          error,
        )
    return arrays

  return retry.cached(key, load_or_make, fits)


def fingerprint(paths: Sequence[str]) -> list[tuple]:
  """Path, bytes and times of each file; UserError if one is gone."""

  def look(start: int) -> list[tuple]:
    some = paths[start : start + _CHUNK]
    return [retry.with_retries(path, _stat, path) for path in some]

  chunks = pool.map(look, range(0, len(paths), _CHUNK))
  return list(itertools.chain.from_iterable(chunks))


def _stat(path: str) -> tuple:
  if '://' in path:
    status = tf.io.gfile.stat(path)
    return path, status.length, status.mtime_nsec
  found = os.stat(path)
  # Archives set the time of a change; that of the writing stays the disk's.
  return path, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _ask(path: str, what: str, *arguments, **keywords) -> bytes | None:
  """Asks a bucket once; gives the content of an object that is there."""
  bucket, _, name = path.removeprefix(_BUCKETS).partition('/')
  request = getattr(_bucket(bucket), what)(name, *arguments, **keywords)
  # A request that is given up may abort a process that ends just then.
  for seconds in range(_SECONDS):
    try:
      answer = request.result(timeout=1)
      break
    except TimeoutError:
      if threads.ending.is_set() and seconds > _LAST_SECONDS:
        raise futures.CancelledError from None
    except Exception as error:  # tensorstore has no class of its own
      raise OSError(retry.reason(error)) from error
  else:
    raise OSError(f'no answer within {_SECONDS} seconds')
  is_there = getattr(answer, 'state', '') == 'value'
  return answer.value if is_there else None


@functools.cache
def _bucket(bucket: str) -> tensorstore.KvStore:
  """A bucket, opened without asking it for anything."""
  context = tensorstore.Context(
    {
      'gcs_request_concurrency': {'limit': THREADS},
      # Tried again here, and not for a quarter of an hour as by default.
      'gcs_request_retries': {'max_retries': 1, 'initial_delay': '10ms'},
    }
  )
  spec = {'driver': 'gcs', 'bucket': bucket}
  return tensorstore.KvStore.open(spec, context=context).result()

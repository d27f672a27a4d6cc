"""Many pieces of files read at once, which hides how long each takes.

A disk is read by threads. A bucket is read by tensorstore, which keeps its
connections: TensorFlow's own reader makes one for each piece, and asks for 64
MiB whatever is wanted.
"""

import asyncio
import atexit
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import functools
import threading
from typing import Any
from typing import TypeVar

import numpy as np
import tensorstore

from selfie_jax.data import disk

THREADS = 16
_BUCKETS = 'gs://'
_REQUESTS = 2048  # in flight to buckets; who asks limits them further
_SECONDS = 60  # an answer that takes longer is lost
_LAST_SECONDS = 10  # likewise at the end of the process
# Pieces of a file that lie so close are read together, up to so many bytes.
_GAP, _LONGEST = 1 << 16, 1 << 23

T = TypeVar('T')

pool = futures.ThreadPoolExecutor(THREADS, 'reading')


@dataclasses.dataclass(frozen=True)
class Reading:
  """Pieces of files that are on their way.

  Attributes:
    requests: what is read at once.
    pieces: number of the request, start and end in it, of each piece.
  """

  requests: Sequence[futures.Future]
  pieces: Sequence[tuple[int, int | None, int | None]]

  def result(self) -> list[bytes]:
    """Waits for the pieces.

    Raises:
      UserError: one cannot be read.
    """
    contents = [request.result() for request in self.requests]
    return [contents[number][start:end] for number, start, end in self.pieces]

  def cancel(self) -> None:
    """Gives up what has not been read yet."""
    for request in self.requests:
      request.cancel()


def whole(paths: Sequence[str]) -> Reading:
  """Begins to read files."""
  return Reading(
    [begin(path) for path in paths],
    [(number, None, None) for number in range(len(paths))],
  )


def pieces(
  paths: Sequence[str],
  files: np.ndarray,
  offsets: np.ndarray,
  lengths: np.ndarray,
) -> Reading:
  """Begins to read pieces of files, neighbours together.

  Args:
    paths: the files.
    files: which of them each piece is in, integers, [n].
    offsets: where it begins there, bytes, [n].
    lengths: bytes, [n].
  """
  requests: list[futures.Future] = []
  where: list = [None] * len(files)
  begun = file = start = end = None

  def close():
    if begun is not None:
      requests.append(begin(paths[file], start, end - start))

  order = np.lexsort((offsets, files))
  columns = (order, files[order], offsets[order], lengths[order])
  for place, number, offset, length in zip(
    *(column.tolist() for column in columns), strict=True
  ):
    if (
      begun is None
      or number != file
      or offset > end + _GAP
      or offset + length > start + _LONGEST
    ):
      close()
      begun, file, start, end = len(requests), number, offset, offset
    where[place] = begun, offset - start, offset - start + length
    end = max(end, offset + length)
  close()
  return Reading(requests, where)


def begin(path: str, offset: int = 0, length: int = -1) -> futures.Future:
  """Begins to read a file, or `length` bytes of it; see disk.read."""
  if not is_in_bucket(path):
    return pool.submit(disk.read, path, offset, length)

  async def read() -> bytes:
    content = await _ask(path, 'read', byte_range=slice(offset, end))
    if content is None:
      raise FileNotFoundError('the bucket has no such object')
    return content

  end = None if length < 0 else offset + length
  return _start(_patiently(path, read))


def is_in_bucket(path: str) -> bool:
  """Whether a path is that of an object."""
  return path.startswith(_BUCKETS)


def load_object(path: str) -> bytes | None:
  """An object of a bucket, None if there is none; see disk.patiently."""
  return _start(_patiently(path, lambda: _ask(path, 'read'))).result()


def save_object(path: str, content: bytes) -> None:
  """Writes an object whole or not at all; see disk.patiently."""
  _start(_patiently(path, lambda: _ask(path, 'write', content))).result()


async def _patiently(path: str, ask: Callable[[], Awaitable[T]]) -> T:
  """As disk.patiently, without a thread that waits."""
  pauses = iter(disk.PAUSES)
  while True:
    try:
      async with asyncio.timeout(_SECONDS):
        return await ask()
    except TimeoutError:
      failure: Exception = OSError(f'no answer within {_SECONDS} seconds')
    except Exception as error:  # tensorstore has no class of its own
      failure = error
    pause = next(pauses, None)
    if pause is None:
      raise disk.failure(path, failure) from failure
    await asyncio.sleep(pause)


async def _ask(path: str, what: str, *arguments, **keywords) -> bytes | None:
  """Asks a bucket once; gives the content of an object that is there."""
  bucket, _, name = path.removeprefix(_BUCKETS).partition('/')
  ask = getattr(_store(bucket), what)
  # Goes on where it is given up: tensorstore may abort a process that ends with
  # a request that was cancelled. `_end` waits for those that are on the way.
  answer = await asyncio.shield(ask(name, *arguments, **keywords))
  is_there = getattr(answer, 'state', '') == 'value'
  return answer.value if is_there else None


def _start(coroutine: Coroutine[Any, Any, T]) -> 'futures.Future[T]':
  return asyncio.run_coroutine_threadsafe(coroutine, _loop())


@functools.cache
def _store(bucket: str) -> tensorstore.KvStore:
  """A bucket, opened without asking it for anything."""
  context = tensorstore.Context(
    {
      'gcs_request_concurrency': {'limit': _REQUESTS},
      # Tried again here, and not for a quarter of an hour as by default.
      'gcs_request_retries': {'max_retries': 1, 'initial_delay': '10ms'},
    }
  )
  spec = {'driver': 'gcs', 'bucket': bucket}
  return tensorstore.KvStore.open(spec, context=context).result()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
  """Runs in a thread of its own for as long as the process does."""
  loop = asyncio.new_event_loop()
  threading.Thread(target=loop.run_forever, name='buckets', daemon=True).start()
  atexit.register(_end, loop)
  return loop


def _end(loop: asyncio.AbstractEventLoop) -> None:
  """Waits for what buckets still answer; the process would abort without."""

  async def answers():
    if on_the_way := asyncio.all_tasks() - {asyncio.current_task()}:
      await asyncio.wait(on_the_way, timeout=_LAST_SECONDS)

  asyncio.run_coroutine_threadsafe(answers(), loop).result()

"""Threads that work ahead, and that let the process end."""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import threading
from typing import Any

ending = threading.Event()  # is set when the main thread has ended


class Pool(futures.ThreadPoolExecutor):
  """Threads that do what they are given, in its order.

  What none has begun when the main thread ends is cancelled: Python would wait
  for all of it, however long that takes. Nor can they be daemons: one that is
  killed inside tensorstore or TensorFlow aborts the process.
  """

  def __init__(self, count: int):
    super().__init__(count)
    # Functions of atexit are called when all threads have ended.
    threading._register_atexit(self._end)  # type: ignore[attr-defined]

  def _end(self) -> None:
    ending.set()
    self.shutdown(wait=False, cancel_futures=True)


def prefetch(
  begin: Callable[[Any], Any], arguments: Iterable, count: int
) -> Iterator[tuple[Any, Any]]:
  """Each argument and what `begin` gave for it, in order.

  Args:
    begin: gives a future, or something else with `result` and `cancel`.
    arguments: taken as late as possible.
    count: how many are begun beside the one that is given out.
  """
  in_flight = collections.deque()
  try:
    for argument in arguments:
      in_flight.append((argument, begin(argument)))
      if len(in_flight) > count:
        yield in_flight.popleft()
    while in_flight:
      yield in_flight.popleft()
  finally:
    for _, future in in_flight:
      future.cancel()

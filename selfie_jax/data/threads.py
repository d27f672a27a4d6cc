"""Threads that work ahead, and that let the process end.

concurrent.futures would first do all that is queued, however long that takes;
daemon threads are killed inside tensorstore or TensorFlow, which aborts the
process.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import queue
import threading
from typing import Any


class Pool:
  """Threads that do what they are given, in its order.

  They start with the first task, and what is left when the main thread ends is
  cancelled.
  """

  def __init__(self, count: int):
    self._count, self._lock = count, threading.Lock()
    self._tasks: queue.SimpleQueue | None = None

  def submit(self, function: Callable, *arguments) -> futures.Future:
    """Has a thread call `function(*arguments)`."""
    with self._lock:
      if self._tasks is None:
        self._start()
    future: futures.Future = futures.Future()
    self._tasks.put((future, function, arguments))
    return future

  def map(self, function: Callable, arguments: Iterable) -> Iterator:
    """`function` of each argument, in order."""
    begun = [self.submit(function, argument) for argument in arguments]
    return (future.result() for future in begun)

  def _start(self) -> None:
    self._tasks = queue.SimpleQueue()
    threading.Thread(target=self._end).start()
    for _ in range(self._count):
      threading.Thread(target=self._work).start()

  def _work(self) -> None:
    while task := self._tasks.get():
      future, function, arguments = task
      if is_ending():
        future.cancel()
      if future.set_running_or_notify_cancel():
        try:
          future.set_result(function(*arguments))
        except BaseException as error:
          future.set_exception(error)
      del task, future, arguments  # or their memory stays until the next task

  def _end(self) -> None:
    threading.main_thread().join()
    for _ in range(self._count):
      self._tasks.put(None)


def is_ending() -> bool:
  """Whether the main thread has ended."""
  return not threading.main_thread().is_alive()


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

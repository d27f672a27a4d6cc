"""Work beside the loop."""

from collections.abc import Callable
from concurrent import futures


def begin(function: Callable, *arguments) -> futures.Future:
  """Begins a call in a thread of its own; the process ends after it."""
  pool = futures.ThreadPoolExecutor(1, function.__name__)
  try:
    return pool.submit(function, *arguments)
  finally:
    pool.shutdown(wait=False)

"""SIGTERM, with which schedulers announce the end of a machine."""

import signal
import threading

import jax


class Notice:
  """Listens for SIGTERM while it is entered; a second one ends the process.

  In a job of several processes jax listens instead, and chooses a step at
  which all of them stop (`jax.experimental.multihost_utils`'s preemption sync
  point, which orbax's CheckpointManager asks for).

  Attributes:
    given: whether SIGTERM came to this process, running alone.
  """

  def __init__(self):
    self.given = False
    self._listens = False

  def __enter__(self) -> 'Notice':
    # Signals reach the main thread only; a notebook's may run elsewhere.
    is_main = threading.current_thread() is threading.main_thread()
    self._listens = is_main and jax.process_count() == 1
    if self._listens:
      self._previous = signal.signal(signal.SIGTERM, self._take)
    return self

  def __exit__(self, *exception) -> None:
    if self._listens:
      signal.signal(signal.SIGTERM, self._previous)

  def reached(self, manager, step: int) -> bool:
    """Whether all processes are to save and stop after step `step`.

    Args:
      manager: the run's CheckpointManager.
      step: steps done; to be asked after each of them.
    """
    return self.given or manager.reached_preemption(step)

  def _take(self, signum, frame) -> None:
    del signum, frame
    self.given = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

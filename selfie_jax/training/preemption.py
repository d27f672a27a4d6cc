"""SIGTERM, with which schedulers announce the end of a machine."""

import signal
import threading

import jax


class PreemptionHandler:
  """Listens for SIGTERM while it is entered; a second one ends the process.

  In a job of several processes jax listens instead, and chooses a step at
  which all of them stop (`jax.experimental.multihost_utils`'s preemption sync
  point, which orbax's CheckpointManager asks for).
  """

  def __init__(self, manager):
    """Takes the run's CheckpointManager."""
    self._manager = manager
    self._is_received = self._listens = False

  def __enter__(self) -> 'PreemptionHandler':
    # Signals reach the main thread only; a notebook's may run elsewhere.
    is_main = threading.current_thread() is threading.main_thread()
    self._listens = is_main and jax.process_count() == 1
    if self._listens:
      self._previous = signal.signal(signal.SIGTERM, self._receive)
    return self

  def __exit__(self, *exception) -> None:
    if self._listens:
      signal.signal(signal.SIGTERM, self._previous)

  def received(self) -> bool:
    """Whether SIGTERM came to this process, running alone."""
    return self._is_received

  def requested(self, step: int) -> bool:
    """Whether all processes must stop; to be asked after each step."""
    return self._is_received or self._manager.reached_preemption(step)

  def _receive(self, signum, frame) -> None:
    del signum, frame
    self._is_received = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

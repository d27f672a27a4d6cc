"""SIGTERM, with which schedulers announce the end of a machine.

SIGHUP, the end of an ssh session, is taken for it, unless nohup has it ignored.
"""

import os
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
    self._is_received = False
    self._previous = {}  # handlers, by signal

  def __enter__(self) -> 'PreemptionHandler':
    # Signals reach the main thread only; a notebook's may run elsewhere.
    if threading.current_thread() is not threading.main_thread():
      return self
    handlers = {}
    if jax.process_count() == 1:
      handlers[signal.SIGTERM] = self._receive
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
      handlers[signal.SIGHUP] = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    for number, handler in handlers.items():
      self._previous[number] = signal.signal(number, handler)
    return self

  def __exit__(self, *exception) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def received(self) -> bool:
    """Whether SIGTERM came to this process, running alone."""
    return self._is_received

  def requested(self, step: int) -> bool:
    """Whether all processes must stop; to be asked after each step."""
    return self._is_received or self._manager.reached_preemption(step)

  def _receive(self, *_) -> None:
    self._is_received = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

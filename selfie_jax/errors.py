"""The exceptions that are meant for the person at the keyboard."""

from collections.abc import Iterator
import contextlib
import sys


class UserError(Exception):
  """A mistake in what was asked for: one message, no traceback.

  The message says what was wrong, what is valid and what to type. `main.py`
  prints it on one line and exits with code 2.
  """


class Preempted(Exception):
  """The run was asked to stop (SIGTERM), has saved its state and ended.

  `main.py` prints the message and exits with code 143 (128 + SIGTERM).
  """


@contextlib.contextmanager
def one_line() -> Iterator[None]:
  """Ends a command: 2 and one line for a mistake, 130 for Ctrl-C."""
  try:
    yield
  except UserError as mistake:
    sys.stderr.write(f'error: {mistake}\n')
    sys.exit(2)
  except KeyboardInterrupt:
    sys.stderr.write('stopped; nothing was written\n')
    sys.exit(130)

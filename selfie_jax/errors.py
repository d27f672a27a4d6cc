"""The exceptions that are meant for the person at the keyboard."""


class UserError(Exception):
  """A mistake in what was asked for: one message, no traceback.

  The message says what was wrong, what is valid and what to type. `main.py`
  prints it on one line and exits with `exit_code`.
  """

  exit_code = 2


class Diverged(UserError):
  """A number of the training is no longer finite; the run was stopped."""

  exit_code = 3


class Preempted(Exception):
  """The run was asked to stop (SIGTERM), has saved its state and ended.

  `main.py` prints the message and exits with code 143 (128 + SIGTERM).
  """

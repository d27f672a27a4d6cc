"""The exceptions that are meant for the person at the keyboard."""

from collections.abc import Iterator
import contextlib
import errno
import os
from typing import NoReturn

# Of a disk or a network; what else an OSError may be is a fault of a program.
_DISK_ERRNOS = (
  errno.EIO,
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EROFS,
  errno.EINTR,
  errno.ESTALE,
  errno.ETIMEDOUT,
)


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


def invalid_value(field: str, value: object, valid: str) -> NoReturn:
  """Raises UserError for the value of a config's field; says what is valid."""
  raise UserError(
    f'config.{field}={value!r} is not valid; it must be {valid} '
    f'(--config.{field}=...)'
  )


@contextlib.contextmanager
def as_disk_error() -> Iterator[None]:
  """Turns an error of the disk into one for the person at the keyboard.

  For what nothing else explains better: the disk may fail at any place.
  """
  try:
    yield
  except OSError as error:
    if error.errno not in _DISK_ERRNOS:
      raise
    place = f' of {error.filename}' if error.filename else ''
    raise UserError(
      f'{error.strerror}: this is an error of the disk or the network{place}. '
      'Nothing that was saved is lost; make room or mend the disk, then type '
      'the same command again'
    ) from error


def in_one_line(error: BaseException) -> str:
  """What an error itself says."""
  return ' '.join(str(error).split()) or type(error).__name__


def reason(error: BaseException) -> str:
  """What an error says, on one line; of the disk's, what the system calls it.

  Libraries put some hundred characters of their own around that.
  """
  said = in_one_line(error)
  if isinstance(error, OSError):
    return said[:300]
  # One that is raised again, as by futures, may be the cause of its context.
  seen, cause = [error], error.__cause__ or error.__context__
  while cause is not None and cause not in seen:
    if isinstance(cause, OSError):
      return reason(cause)
    seen.append(cause)
    cause = cause.__cause__ or cause.__context__
  known = map(os.strerror, _DISK_ERRNOS)
  return next((text for text in known if text in said), said[:300])

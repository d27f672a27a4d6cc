"""The exceptions that are meant for the person at the keyboard."""

from collections.abc import Iterator
import contextlib
import errno
import os
from typing import NoReturn

# Of a disk or a network; what else an OSError may be is a fault of a program.
_MAY_PASS = (
  errno.EIO, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT,
  errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET,
)  # fmt: skip
_DISK_ERRNOS = (*_MAY_PASS, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_TIMEOUTS = ('timed out', 'timeout', 'deadline')  # in libraries' words
_NO_MEMORY = 'RESOURCE_EXHAUSTED'  # how jax's error begins


class UserError(Exception):
  """A mistake in what was asked for: one message, no traceback.

  The message says what was wrong, what is valid and what to type. `main.py`
  prints it on one line and exits with `exit_code`.
  """

  exit_code = 2


class Diverged(UserError):
  """A number of the training is no longer finite; the run was stopped."""

  exit_code = 3


class MayPass(UserError):
  """An error of the disk or the network; starting again may help."""

  exit_code = 75  # EX_TEMPFAIL


class Preempted(Exception):
  """The run was asked to stop (SIGTERM), has saved its state and ended.

  `main.py` prints the message and exits with code 143 (128 + SIGTERM).
  """


def invalid_value(field: str, value: object, valid: str) -> NoReturn:
  """Raises UserError for the value of a config's field; says what is valid."""
  invalid(f'config.{field}={value!r}', f'{valid} (--config.{field}=...)')


def invalid(given: str, valid: str) -> NoReturn:
  """Raises UserError for what was `given`, such as '--count=0'."""
  raise UserError(f'{given} is not valid; it must be {valid}')


@contextlib.contextmanager
def as_user_error() -> Iterator[None]:
  """Turns an error of the disk, or a lack of memory, into one line.

  For what nothing else explains better: they may come at any place.
  """
  try:
    with as_disk_error():
      yield
  except Exception as error:
    said = in_one_line(error)
    if not (isinstance(error, MemoryError) or said.startswith(_NO_MEMORY)):
      raise
    raise UserError(
      f'the memory is not enough ({said[:300]}). Give a job a smaller '
      '--config.batch_size, --config.eval_batch_size or '
      '--config.dataset.cache_gib, and embed a smaller --batch_size'
    ) from error


@contextlib.contextmanager
def as_disk_error() -> Iterator[None]:
  """Turns an error of the disk into one for the person at the keyboard."""
  try:
    yield
  except OSError as error:
    if error.errno not in _DISK_ERRNOS and kind(error) is not MayPass:
      raise
    raise disk_error('an error of the disk or the network', error) from error


def disk_error(place: str, error: BaseException, kept: str = '') -> UserError:
  """For a failure of the disk or the network: what happened, and what to do.

  Args:
    place: such as 'FILE cannot be written'.
    error: of the system or of a library.
    kept: a sentence about what is untouched.
  """
  what = f'{place}: {reason(error)}. {kept}'
  again = 'type the same command again'
  if kind(error) is MayPass:
    return MayPass(f'{what}This may pass: {again}')
  cause = next(_os_errors(error), None)
  if isinstance(cause, (FileNotFoundError, NotADirectoryError)):
    return UserError(f'{what}Put back what is missing, then {again}')
  return UserError(
    f'{what}Free disk space or fix the permissions, then {again}'
  )


def kind(error: BaseException) -> type[UserError]:
  """MayPass where starting again may help, with nothing done by a person."""
  causes = [*_os_errors(error)]
  said = reason(error)
  may_pass = (
    any(isinstance(cause, TimeoutError) for cause in causes)
    or any(cause.errno in _MAY_PASS for cause in causes)
    or said in map(os.strerror, _MAY_PASS)
    or (not causes and any(word in said.lower() for word in _TIMEOUTS))
  )
  return MayPass if may_pass else UserError


def in_one_line(error: BaseException) -> str:
  """What an error itself says."""
  return ' '.join(str(error).split()) or type(error).__name__


def reason(error: BaseException) -> str:
  """What an error says, on one line; of the disk's, what the system calls it.

  Libraries put some hundred characters of their own around that.
  """
  cause = next(_os_errors(error), None)
  said = in_one_line(cause or error)
  if cause:
    return said[:300]
  known = map(os.strerror, _DISK_ERRNOS)
  return next((text for text in known if text in said), said[:300])


def _os_errors(error: BaseException) -> Iterator[OSError]:
  """The system's, which a library's may come from; the last first."""
  # One that is raised again, as by futures, may be the cause of its context.
  seen: list[BaseException] = []
  cause: BaseException | None = error
  while cause is not None and cause not in seen:
    if isinstance(cause, OSError):
      yield cause
    seen.append(cause)
    cause = cause.__cause__ or cause.__context__

"""What all commands share: flags, the terminal, and how they end."""

import argparse
from collections.abc import Iterator
import contextlib
import logging
import os
import sys
from typing import NoReturn

from selfie_jax import cache
from selfie_jax import errors


class Parser(argparse.ArgumentParser):
  """argparse's, with one line for a mistake in place of the usage."""

  def __init__(self, command: str, doc: str):
    script = f'selfie-{command}'  # as pip installs it
    started_as_script = os.path.basename(sys.argv[0]).startswith(script)
    prog = script if started_as_script else f'python -m selfie_jax.{command}'
    super().__init__(prog=prog, description=doc.splitlines()[0])

  def add_path(self, flag: str, metavar: str, says: str, required=True) -> None:
    self.add_argument(
      flag, type=path, metavar=metavar, help=says, required=required
    )

  def error(self, message: str) -> NoReturn:
    said = message.replace('invalid int value: ', 'no whole number: ')
    raise errors.UserError(f'{said}; {self.prog} --help has all flags')


def path(text: str) -> str:
  """A path as typed, with ~ for the home folder; for buckets (gs://) too.

  Raises:
    UserError: it is empty.
  """
  if not text:
    raise errors.UserError(
      'a path is empty; is a variable of the command not set? Give it a value, '
      'or leave the flag out'
    )
  return os.path.expanduser(text)


def check_output(flag: str, path: str, endings: tuple[str, ...]) -> None:
  """Raises UserError for a file of a flag that could not be written."""
  if not path.endswith(endings):
    raise errors.UserError(
      f'{path} has an unknown ending; give {flag}=FILE with one of '
      + ', '.join(endings)
    )
  folder = os.path.dirname(os.path.abspath(path))
  if not os.access(folder, os.W_OK) or os.path.isdir(path):
    raise errors.UserError(
      f'{path} cannot be written; give {flag}=FILE in a folder that exists and '
      'can be written to'
    )


@contextlib.contextmanager
def exit_cleanly(
  stopped: str = 'stopped; nothing was written',
) -> Iterator[None]:
  """Ends a command in one line (`stopped` after Ctrl-C) unless code failed."""
  if sys.stderr is None:  # closed, as by 2>&-
    sys.stderr = open(os.devnull, 'w')
  try:
    with errors.as_user_error():
      yield
    if sys.stdout is not None:
      sys.stdout.flush()
  except BrokenPipeError:  # the reader has ended, such as head
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)  # 128 + SIGPIPE
  except errors.UserError as mistake:
    _say(f'error: {mistake}')
    sys.exit(mistake.exit_code)
  except errors.Preempted as notice:
    _say(str(notice))
    sys.exit(143)
  except KeyboardInterrupt:
    _say(stopped)
    sys.exit(130)


def _say(line: str) -> None:
  with contextlib.suppress(OSError):  # the terminal is gone, as after SIGHUP
    sys.stderr.write(f'{line}\n')


def log_to_terminal() -> None:
  """Our own lines only; what goes wrong in a library comes as an exception."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  logger = logging.getLogger('selfie_jax')
  logger.setLevel(logging.INFO)
  logger.propagate = False
  logger.addHandler(handler)
  sys.unraisablehook = _ignore_late_answers
  silence_libraries()


def silence_libraries() -> None:
  """Hides what libraries log; selfie_jax/__init__.py does it for TensorFlow."""
  from absl import logging as absl_logging

  absl_logging.set_verbosity(absl_logging.FATAL)


def start_jax() -> None:
  """Starts jax's backend, and says in a line if it has no device.

  Raises:
    UserError: there is no such device as JAX_PLATFORMS asks for, or jax is not
      to compile.
  """
  import jax

  if jax.config.jax_disable_jit:
    raise errors.UserError('unset JAX_DISABLE_JIT: training has to be compiled')
  cache.keep_compiled()
  cache.keep_memory_of_steps()
  try:
    jax.devices()
  except (AssertionError, RuntimeError) as error:
    asked = jax.config.jax_platforms
    reason = str(error).partition('\n')[0].partition(' (set JAX')[0]
    raise errors.UserError(
      'jax finds no device'
      + (f' for JAX_PLATFORMS={asked}' if asked else '')
      + (f' ({reason})' if reason else '')
      + '. It needs the packages of requirements-gpu.txt for cuda, of '
      'requirements-tpu.txt for tpu, and the device; JAX_PLATFORMS=cpu '
      'computes on the CPU'
    ) from error


def _ignore_late_answers(unraisable, hook=sys.unraisablehook) -> None:
  """Says what went wrong beside the program, but for one thing.

  When a file of a checkpoint fails, orbax raises that and closes its event
  loop, at which tensorstore's answers on the other files arrive none the less.
  """
  if str(unraisable.exc_value) != 'Event loop is closed':
    hook(unraisable)

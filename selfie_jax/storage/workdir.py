"""A run's folder: its address, its lock, and files that are whole or absent."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import fcntl
import glob
import importlib
import json
import logging
import os
import socket
import time
from typing import Any

from etils import epath

from selfie_jax import errors

logger = logging.getLogger(__name__)

LOCK = 'lock'
PAUSES = (0.2, 1.0)  # seconds, before what failed is read again
_locked: dict[str, os.stat_result] = {}  # by this process, not in buckets


class _LocalPath(type(epath.Path('/'))):
  """A path whose own name is no pattern: folders may be called `lr=[0.1]`."""

  def glob(self, pattern: str) -> Iterator['_LocalPath']:
    """Yields what matches a pattern below this folder."""
    folder = glob.escape(os.fspath(self))
    for path in glob.iglob(os.path.join(folder, pattern)):
      yield self._new(path)


def run_path(workdir: str | os.PathLike[str]) -> epath.Path:
  """The folder of a run, absolute unless it is a bucket's address.

  Raises:
    UserError: it is in a bucket that cannot be reached or not one of Google's,
      or Orbax lacks what it needs there, or takes its name for a pattern.
  """
  text = os.fspath(workdir)
  if '://' not in text:
    return _LocalPath(os.path.abspath(os.path.expanduser(text)))
  if not text.startswith('gs://'):
    raise errors.UserError(
      f'{text} is not valid; give a folder, or a bucket as gs://BUCKET/FOLDER'
    )
  if glob.has_magic(text):
    raise errors.UserError(
      f'{text} is not valid in a bucket; give a name without [, * and ?'
    )
  path = epath.Path(text)
  try:
    path.exists()
  except Exception as error:  # buckets have exceptions of their own
    raise errors.UserError(
      f'{text} cannot be reached ({errors.reason(error)}); check the network '
      'and your access to the bucket (gcloud auth application-default login)'
    ) from error
  try:
    importlib.import_module('google.cloud.storage')
  except ImportError as error:
    raise errors.UserError(
      f'{text} is in a bucket, where Orbax needs google-cloud-storage: '
      'pip install -r requirements-tpu.txt, or pip install google-cloud-storage'
    ) from error
  return path


@contextlib.contextmanager
def lock_workdir(workdir: epath.Path) -> Iterator[None]:
  """Makes the folder and keeps other processes from running in it.

  The lock is the operating system's, on the file `lock`, so it ends with the
  process that holds it, however that ends. Buckets (gs://) have no such locks:
  there, whatever starts the jobs has to start one at a time.

  Raises:
    UserError: the folder cannot be made or written to, or a run is in it; or
      something failed and the folder is no longer there.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    is_bucket = '://' in os.fspath(workdir)
    lock = contextlib.nullcontext() if is_bucket else _open_lock(workdir)
  except errors.UserError:
    raise
  except Exception as error:  # buckets have exceptions of their own
    raise errors.UserError(
      f'cannot write to the workdir {workdir} ({error}); give a folder that '
      'can be written to with --workdir=DIR'
    ) from error
  with lock:
    if not is_bucket:
      _locked[os.fspath(workdir)] = os.stat(workdir)
    try:
      yield
    except Exception:
      check_in_place(workdir)  # else nothing can be written there
      raise
    finally:
      _locked.pop(os.fspath(workdir), None)


def check_in_place(workdir: epath.Path) -> None:
  """Raises UserError if a locked folder has been renamed or removed since.

  What is written by its name would come into another folder, or a new one.
  """
  locked = _locked.get(os.fspath(workdir))
  if locked is None:
    return
  with contextlib.suppress(FileNotFoundError):
    if os.path.samestat(os.stat(workdir), locked):
      return
    holder = (workdir / LOCK).read_text()  # where the numbers of files change
    if holder == _name_process():
      return
  raise errors.UserError(
    f'{workdir} was renamed or removed while its run was in it. Type the same '
    'command with --workdir=ITS_NEW_NAME: it continues from the last '
    'checkpoint there'
  )


def attempts() -> Iterator[None]:
  """Iterates over the attempts to read something, with pauses between them."""
  yield
  for pause in PAUSES:
    time.sleep(pause)
    yield


def read_text(path: epath.Path) -> str | None:
  """What a file holds; None if there is none.

  Raises:
    UserError: the disk cannot read it, several times.
  """
  content = _look(path, path.read_bytes)
  return None if content is None else content.decode(errors='replace')


def exists(path: epath.Path) -> bool:
  """Whether something is there; epath's `exists` says no if the disk fails.

  Raises:
    UserError: the disk cannot tell, several times.
  """
  return _look(path, path.stat) is not None


def read_json(path: epath.Path, remedy: str, kind: type = dict) -> Any:
  """What a JSON file holds; None if there is none.

  Raises:
    UserError: it is damaged or of another kind (the message ends with
      `remedy`), or the disk cannot read it.
  """
  text = read_text(path)
  if text is None:
    return None
  try:
    value = json.loads(text)
    if not isinstance(value, kind):
      raise ValueError(f'no {kind.__name__}')
  except ValueError as error:
    raise errors.UserError(f'{path} is damaged ({error}); {remedy}') from error
  return value


def write(path: epath.Path, text: str) -> None:
  """Writes a file that readers find whole or as it was before.

  Raises:
    UserError: it cannot be written, or a locked folder is no longer there.
  """
  check_in_place(path.parent)
  temporary = path.parent / f'{path.name}.tmp'
  with writing(path.parent):
    temporary.write_text(text)
    temporary.replace(path)


def write_json(path: epath.Path, value: Any, indent: int | None = 2) -> None:
  """Likewise, a value as JSON that every program can read: without NaN."""
  text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
  write(path, text + '\n')


def make(folder: epath.Path) -> None:
  """Makes a folder, unless it is there; UserError if that cannot be."""
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def writing(workdir: epath.Path) -> Iterator[None]:
  """Turns whatever keeps a file from being written into a UserError."""
  try:
    yield
  except (errors.UserError, MemoryError):
    raise
  # Several libraries write there, each with exceptions of its own.
  except Exception as error:
    raise errors.disk_error(f'cannot write to {workdir}', error) from error


def _look(path: epath.Path, function: Callable[[], Any]) -> Any:
  """What it gives of a path, tried several times; None if nothing is there."""
  for _ in attempts():
    try:
      return function()
    except (FileNotFoundError, NotADirectoryError):
      return None
    except OSError as caught:
      error = caught
  raise errors.disk_error(f'{path} cannot be read', error) from error


def _open_lock(workdir: epath.Path):
  """The locked file, which names its process; closing it unlocks."""
  file = open(workdir / LOCK, 'a+')
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    file.seek(0)
    holder = file.read().strip() or 'another process'
    file.close()
    raise errors.UserError(
      f'{workdir} is in use by {holder}; wait until it ends, or give another '
      'folder with --workdir=DIR'
    ) from error
  except OSError as error:
    logger.warning('%s cannot be locked (%s)', file.name, error)
  file.truncate(0)
  file.write(_name_process())
  file.flush()
  return file


def _name_process() -> str:
  return f'process {os.getpid()} on {socket.gethostname()}\n'

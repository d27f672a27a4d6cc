"""Files are listed and read here, from a disk, a network or a bucket.

What fails is tried again and then raised: an error of the disk is never taken
for a damaged image or for a file that is not there.
"""

from collections.abc import Callable
import contextlib
import errno
import hashlib
import io
import logging
import os
import pathlib
import re
import stat
import tempfile
import time
from typing import TypeVar

import numpy as np
import tensorflow as tf

from selfie_jax import errors

logger = logging.getLogger(__name__)

PAUSES = (0.1, 0.5, 2.0)  # seconds before each further try
SAY_EVERY = 5.0  # seconds between two lines of progress
# TensorFlow's for buckets; of them, InvalidArgumentError is about the content.
_ERRORS = (OSError, tf.errors.OpError)

Arrays = dict[str, np.ndarray]
# Paths below a folder; how many links are on the way, and the real path.
Files = dict[str, tuple[int, str]]
T = TypeVar('T')


def patiently(name: str, read: Callable[..., T], *arguments) -> T:
  """`read(*arguments)`, tried again a few times where the disk fails.

  Raises:
    UserError: it failed each time; `name` says what could not be read.
  """
  for pause in (*PAUSES, None):
    try:
      return read(*arguments)
    except tf.errors.InvalidArgumentError:
      raise
    except _ERRORS as error:
      if pause is None:
        raise _failure(name, error) from error
    time.sleep(pause)


def read(path: str, offset: int = 0, length: int = -1) -> bytes:
  """Reads a file, or `length` bytes of it; see patiently."""

  def read_once() -> bytes:
    # The plain open is several times faster; gfile knows gs:// and its like.
    opener = tf.io.gfile.GFile if '://' in path else open
    with opener(path, 'rb') as stream:
      if offset:
        stream.seek(offset)
      content = stream.read(length)
    if len(content) < length:
      raise OSError(f'it ends before byte {offset + length}')
    return content

  return patiently(path, read_once)


def kind(path: str) -> str:
  """'file' or 'folder', as a local path is one; '' if nothing is there."""

  def look() -> str:
    try:
      return 'folder' if stat.S_ISDIR(os.stat(path).st_mode) else 'file'
    except (FileNotFoundError, NotADirectoryError):
      return ''

  return patiently(path, look)


def walk(root: str) -> Files:
  """All files below a folder but hidden ones.

  Links are followed. Below each folder right in `root`, a folder is walked
  once, whatever links lead to it; so links in a circle come to an end.

  Raises:
    UserError: a folder cannot be listed.
  """
  start = os.path.realpath(root)
  files, progress = {}, Progress(f'Listing {root}', 'files')
  for top, real, is_folder, is_link in _entries(start):
    if not is_folder:
      files[top] = int(is_link), real
      continue
    folders, links, seen = [(top, real, int(is_link))], [], set()
    while folders or links:
      prefix, folder, count = folders.pop() if folders else links.pop(0)
      is_above = f'{start}{os.sep}'.startswith(f'{folder}{os.sep}')
      if folder in seen or is_above:
        continue
      seen.add(folder)
      for name, real, is_folder, is_link in _entries(folder):
        path = f'{prefix}/{name}'
        if is_folder:
          later = links if is_link else folders
          later.append((path, real, count + is_link))
        else:
          files[path] = count + is_link, real
          progress.add(1)
  return dict(sorted(files.items()))


def once(files: Files) -> set[str]:
  """Paths of `walk`, one of each file: by the fewest links, or the first."""
  chosen = {}
  for path, (_, real) in sorted(files.items(), key=lambda x: (x[1][0], x[0])):
    chosen.setdefault(real, path)
  return set(chosen.values())


class Progress:
  """Logs every few seconds how far something is, on a terminal or not."""

  def __init__(self, title: str, unit: str, total: int | None = None):
    self._title, self._unit = title, unit
    self._total = f' of {total:,}' if total else ''
    self._done, self._said = 0, time.monotonic()

  def add(self, count: int) -> None:
    """So many more are done."""
    self._done += count
    if time.monotonic() - self._said >= SAY_EVERY:
      logger.info(
        '%s: %s%s %s', self._title, f'{self._done:,}', self._total, self._unit
      )
      self._said = time.monotonic()


def remembered(key: list, make: Callable[[], Arrays]) -> Arrays:
  """`make()`, or what it was when it was last called with this key.

  It is kept in the cache folder; a damaged file there is made again.

  Args:
    key: all that the arrays follow from, such as names and sizes of files;
      its `repr` is compared.
    make: gives arrays by name.
  """
  name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
  path = cache_folder() / 'records' / f'{name}.npz'

  def load() -> bytes | None:
    try:
      return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
      return None

  if content := patiently(str(path), load):
    try:
      with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)
    except Exception:  # which, depends on where the damage is
      logger.warning('%s is damaged and made again', path)
  arrays = make()
  _save(path, arrays)
  return arrays


def cache_folder() -> pathlib.Path:
  """The folder for what can be made again: $XDG_CACHE_HOME or ~/.cache."""
  base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return pathlib.Path(base) / 'selfie_jax'


def reason(error: BaseException, limit: int = 300) -> str:
  """What an error says, on one line and without TensorFlow's names."""
  said = getattr(error, 'strerror', None) or getattr(error, 'message', None)
  said = re.sub(r'\{\{.*?\}\}|\[Op:.*?\]', '', str(said or error))
  return ' '.join(said.split())[:limit] or type(error).__name__


def _failure(name: str, error: Exception) -> errors.UserError:
  if isinstance(error, tf.errors.DataLossError):
    return errors.UserError(
      f'{name} is damaged ({reason(error)}); put a good copy back, or delete'
      ' the folder and prepare the data set again'
    )
  if isinstance(error, (FileNotFoundError, tf.errors.NotFoundError)):
    return errors.UserError(
      f'{name} is not there ({reason(error)}); put it back, or delete it if it'
      ' is a link to nothing, and type the same command again'
    )
  return errors.UserError(
    f'{name} cannot be read ({reason(error)}). This is an error of the disk or'
    ' the network and not of the data; nothing is lost: type the same command'
    ' again when it can be read'
  )


def _entries(folder: str) -> list[tuple[str, str, bool, bool]]:
  """Name, real path, whether a folder, whether a link; sorted, none hidden."""

  def look():
    with os.scandir(folder) as entries:
      return sorted(
        (entry.name, *_follow(entry), entry.is_symlink())
        for entry in entries
        if not entry.name.startswith('.')
      )

  return patiently(folder, look)


def _follow(entry: os.DirEntry) -> tuple[str, bool]:
  """The real path, and whether it is a folder."""
  if not entry.is_symlink():
    return entry.path, entry.is_dir()
  try:
    return os.path.realpath(entry.path, strict=True), entry.is_dir()
  except OSError as error:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
      return entry.path, False  # a link to nothing
    raise


def _save(path: pathlib.Path, arrays: Arrays) -> None:
  partial = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix='.partial')
    with os.fdopen(handle, 'wb') as file:
      np.savez(file, **arrays)
    # Another process may be reading or writing the same arrays.
    os.replace(partial, path)
  except OSError:
    # Without a folder that can be written, the next run looks again.
    if partial:
      with contextlib.suppress(OSError):
        os.unlink(partial)

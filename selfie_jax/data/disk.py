"""Files are listed and read here, from a disk, a network or a bucket.

What fails is tried again and then raised: an error of the disk is never taken
for a damaged image or for a file that is not there.
"""

from collections.abc import Callable
import contextlib
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

from selfie_jax import cache
from selfie_jax import errors
from selfie_jax.data import tf

logger = logging.getLogger(__name__)

PAUSES = (0.1, 0.5, 2.0)  # seconds before each further try
SAY_EVERY = 5.0  # seconds between two lines of progress

Arrays = dict[str, np.ndarray]
T = TypeVar('T')


def patiently(name: str, read: Callable[..., T], *arguments) -> T:
  """`read(*arguments)`, tried again a few times where the disk fails.

  Raises:
    UserError: it failed each time; `name` says what could not be read.
  """
  for pause in (*PAUSES, None):
    try:
      return read(*arguments)
    except Exception as error:
      if not _is_of_the_disk(error):
        raise
      if pause is None:
        raise failure(name, error) from error
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
  path = cache.folder() / 'records' / f'{digest(key)}.npz'

  def load() -> bytes | None:
    try:
      return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
      return None

  arrays = unpack(str(path), patiently(str(path), load))
  if arrays is None:
    arrays = make()
    _save(path, pack(arrays))
  return arrays


def digest(key: list) -> str:
  """A name for what follows from a key."""
  return hashlib.sha256(repr(key).encode()).hexdigest()[:32]


def pack(arrays: Arrays) -> bytes:
  """Arrays as a file."""
  content = io.BytesIO()
  np.savez(content, **arrays)
  return content.getvalue()


def unpack(name: str, content: bytes | None) -> Arrays | None:
  """The arrays of a file; None if there is none or it is damaged."""
  if not content:
    return None
  try:
    with np.load(io.BytesIO(content)) as arrays:
      return dict(arrays)
  except Exception:  # which, depends on where the damage is
    logger.warning('%s is damaged and made again', name)
    return None


def reason(error: BaseException, limit: int = 300) -> str:
  """What an error says, on one line and without TensorFlow's names."""
  said = getattr(error, 'strerror', None) or getattr(error, 'message', None)
  said = re.sub(r'\{\{.*?\}\}|\[Op:.*?\]', '', str(said or error))
  return ' '.join(said.split())[:limit] or type(error).__name__


def failure(name: str, error: Exception) -> errors.UserError:
  """What is said of a file that cannot be read."""
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


def _is_of_the_disk(error: Exception) -> bool:
  """Whether reading failed, the network's included, and not what was read."""
  if isinstance(error, OSError):
    return True
  is_of_content = isinstance(error, tf.errors.InvalidArgumentError)
  return isinstance(error, tf.errors.OpError) and not is_of_content


def _save(path: pathlib.Path, content: bytes) -> None:
  partial = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix='.partial')
    with os.fdopen(handle, 'wb') as file:
      file.write(content)
    # Another process may be reading or writing the same arrays.
    os.replace(partial, path)
  except OSError:
    # Without a folder that can be written, the next run looks again.
    if partial:
      with contextlib.suppress(OSError):
        os.unlink(partial)

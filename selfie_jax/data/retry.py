"""What fails on a disk or a network is tried again, and then raised.

An error of the disk is never taken for a damaged image or a missing file.
"""

from collections.abc import Callable
import contextlib
import hashlib
import io
import logging
import os
import pathlib
import re
import tempfile
import time
from typing import TypeVar

import numpy as np

from selfie_jax import cache
from selfie_jax import errors
from selfie_jax.data import tf

logger = logging.getLogger(__name__)

PAUSES = (0.1, 0.5, 2.0)  # seconds before each further try
CACHE_GIB = 4.0  # of arrays in the cache folder; the oldest are dropped
LOG_EVERY = 5.0  # seconds between two lines of progress

Arrays = dict[str, np.ndarray]
T = TypeVar('T')


def with_retries(name: str, function: Callable[..., T], *arguments) -> T:
  """`function(*arguments)`, tried again a few times where the disk fails.

  Raises:
    UserError: it failed each time; `name` says what could not be read.
  """
  for pause in (*PAUSES, None):
    try:
      return function(*arguments)
    except Exception as error:
      if not _is_disk_error(error):
        raise
      if pause is None:
        raise _failure(name, error) from error
    time.sleep(pause)


class Progress:
  """Logs every few seconds how far something is, on a terminal or not."""

  def __init__(self, title: str, unit: str, total: int | None = None):
    self._title, self._unit = title, unit
    self._total = f' of {total:,}' if total else ''
    self._done, self._logged = 0, time.monotonic()

  def add(self, count: int) -> None:
    """Counts `count` more as done."""
    self._done += count
    if time.monotonic() - self._logged >= LOG_EVERY:
      logger.info(
        '%s: %s%s %s', self._title, f'{self._done:,}', self._total, self._unit
      )
      self._logged = time.monotonic()


def cached(
  key: list, make: Callable[[], Arrays], fits: Callable[[Arrays], bool]
) -> Arrays:
  """`make()`, or its result of an earlier call with this key.

  It is stored in the cache folder; a damaged file there is made again.

  Args:
    key: all that the arrays follow from, such as names and sizes of files;
      its `repr` is compared.
    make: gives arrays by name.
    fits: whether stored ones have the shapes of this set.
  """
  path = cache.folder() / 'records' / f'{digest(key)}.npz'

  def load() -> bytes | None:
    try:
      content = path.read_bytes()
      with contextlib.suppress(OSError):
        os.utime(path)  # used now
      return content
    except (FileNotFoundError, NotADirectoryError, PermissionError):
      return None

  arrays = unpack(str(path), with_retries(str(path), load), fits)
  if arrays is None:
    arrays = make()
    _save(path, pack(arrays))
  return arrays


def digest(key: list) -> str:
  """A file name for what follows from a key."""
  return hashlib.sha256(repr(key).encode()).hexdigest()[:32]


def pack(arrays: Arrays) -> bytes:
  """Arrays as the content of a file."""
  content = io.BytesIO()
  np.savez(content, **arrays)
  return content.getvalue()


def unpack(
  name: str, content: bytes | None, fits: Callable[[Arrays], bool]
) -> Arrays | None:
  """The arrays of a file; None if there is none or they are damaged."""
  if not content:
    return None
  try:
    with np.load(io.BytesIO(content)) as file:
      arrays = dict(file)
    if fits(arrays):
      return arrays
  except Exception:  # which one depends on where the damage is
    pass
  logger.warning('%s is damaged and made again', name)
  return None


def reason(error: BaseException, limit: int = 300) -> str:
  """What an error says, on one line and without TensorFlow's names."""
  text = getattr(error, 'strerror', None) or getattr(error, 'message', None)
  text = re.sub(r'\{\{.*?\}\}|\[Op:.*?\]', '', str(text or error))
  return ' '.join(text.split())[:limit] or type(error).__name__


def _failure(name: str, error: Exception) -> errors.UserError:
  """The message for a file that cannot be read."""
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
  needs_rights = (PermissionError, tf.errors.PermissionDeniedError)
  kind = errors.UserError if isinstance(error, needs_rights) else errors.MayPass
  return kind(
    f'{name} cannot be read ({reason(error)}). This is an error of the disk or'
    ' the network and not of the data; nothing is lost: type the same command'
    ' again when it can be read'
  )


def _is_disk_error(error: Exception) -> bool:
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
    _drop_oldest(path.parent)
  except OSError:
    # Without a folder that can be written, the next run makes them again.
    if partial:
      with contextlib.suppress(OSError):
        os.unlink(partial)


def _drop_oldest(folder: pathlib.Path) -> None:
  """Deletes what was used longest ago, beyond CACHE_GIB."""
  found = [(path.stat(), path) for path in folder.iterdir()]
  total = 0
  for status, path in sorted(found, key=lambda x: -x[0].st_mtime_ns):
    total += status.st_size
    if total > CACHE_GIB * 2**30:
      path.unlink()

"""Whether the files of a checkpoint are what was saved.

Each checkpoint holds a list of its files with their sizes and checksums,
written before the checkpoint gets its final name. So what has been truncated,
emptied or partly deleted is known before anything is read from it.
"""

from collections.abc import Iterator
import json
import logging
import os
import zlib

from etils import epath

logger = logging.getLogger(__name__)

LIST = 'checksums.json'
DAMAGED = 'damaged'
_METADATA = '_CHECKPOINT_METADATA'  # orbax adds the time of the commit later
_CHUNK = 1 << 24


def list_newest(checkpoints: epath.Path) -> None:
  """Writes the list of the newest step in a folder of checkpoints.

  Args:
    checkpoints: holds a folder for each step, named by its number; the one
      that is being written may have more after the number.
  """
  folders = [path for path in checkpoints.iterdir() if path.is_dir()]
  newest = max(folders, key=lambda path: int(path.name.partition('.')[0]))
  files = {
    os.path.relpath(path, newest): _checksum(path)
    for path in _files(newest)
    if path.name != _METADATA
  }
  (newest / LIST).write_text(json.dumps(files, indent=1))


def is_whole(checkpoint: epath.Path) -> bool:
  """Whether a checkpoint's files are what was saved; says which is not."""
  reason = _damage(checkpoint)
  if reason:
    logger.warning('The checkpoint %s cannot be read: %s', checkpoint, reason)
  return not reason


def put_aside(checkpoint: epath.Path) -> None:
  """Moves workdir/checkpoints/STEP to workdir/damaged/STEP."""
  aside = checkpoint.parent.parent / DAMAGED / checkpoint.name
  aside.parent.mkdir(exist_ok=True)
  if aside.exists():
    aside.rmtree()
  checkpoint.rename(aside)
  logger.warning('Moved the damaged checkpoint to %s', aside)


def _damage(checkpoint: epath.Path) -> str | None:
  name = LIST
  try:
    listed = json.loads((checkpoint / LIST).read_text())
    for name, (size, value) in listed.items():
      found = _checksum(checkpoint / name)
      if found[0] != size:
        return f'{name} has {found[0]} bytes instead of {size}'
      if found[1] != value:
        return f'{name} is not what was written'
    name = _METADATA
    json.loads((checkpoint / name).read_text())
  except FileNotFoundError:
    return f'{name} is missing'
  except OSError as error:
    return str(error)
  except ValueError:
    return f'{name} is damaged'
  return None


def _files(folder: epath.Path) -> Iterator[epath.Path]:
  for path in sorted(folder.iterdir()):
    if path.is_dir():
      yield from _files(path)
    else:
      yield path


def _checksum(path: epath.Path) -> list[int]:
  """Size in bytes and CRC-32."""
  size, value = 0, 0
  with path.open('rb') as file:
    while chunk := file.read(_CHUNK):
      size, value = size + len(chunk), zlib.crc32(chunk, value)
  return [size, value]

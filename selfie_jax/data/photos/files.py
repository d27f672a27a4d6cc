"""Files of people: those below a folder, and how their names are spelt."""

import collections
import dataclasses
import errno
import itertools
import os
import pathlib
import stat
import unicodedata

from selfie_jax.data import retry

# What a NAS, an operating system or an archive puts beside the photos.
DERIVED = (
  '@eaDir', '@Recycle', '#recycle', '#snapshot', '$RECYCLE.BIN', 'lost+found',
  'System Volume Information', '__MACOSX', '.thumbnails',
)  # fmt: skip
# In a run's folder: what is there first, and folders that come later.
LOCK, _OF_A_RUN = 'lock', ('checkpoints', 'figures')


@dataclasses.dataclass(frozen=True)
class Entry:
  """An image.

  Attributes:
    file: its path below the root, with /, or an absolute one.
    label: its class; '' for unlabelled.
    split: its split; '' for none.
    real: its path without links, by which it is known and read.
  """

  file: str
  label: str
  split: str
  real: str = dataclasses.field(compare=False)


def printable(name: str) -> str:
  r"""A file's name for people and JSON: a byte that is not UTF-8 as \xe9."""
  return name.encode(errors='surrogateescape').decode(errors='backslashreplace')


def comparable(name: str) -> str:
  """The same for all Unicode spellings of a name (NFC, NFD) and escaped."""
  return unicodedata.normalize('NFC', printable(name))


def walk(root: str) -> dict[str, str]:
  """Real paths of all files below a folder but hidden ones, by path below it.

  DERIVED folders are among them, and are not entered; nor are those that our
  runs make in theirs, wherever a run is. Links are followed.
  Below each folder right in `root`, a real folder is walked once, whatever
  links lead to it; so links in a circle come to an end.

  Raises:
    UserError: a folder cannot be listed.
  """
  start = os.path.realpath(root)
  outside = {start, *map(str, pathlib.Path(start).parents)}
  progress = retry.Progress(f'Listing {root}', 'files')
  found = {}
  for top in _list_entries('', start):
    seen, waiting = set(outside), collections.deque([top])
    while waiting:
      path, real, is_folder, _ = waiting.popleft()
      if not is_folder:
        found[path] = real
        progress.add(1)
      elif real not in seen:
        seen.add(real)
        for entry in _list_entries(f'{path}/', real):
          is_link = entry[-1]  # what lies in the folder itself comes first
          (waiting.append if is_link else waiting.appendleft)(entry)
  return dict(sorted(found.items()))


def distinct(root: str, files: dict[str, str]) -> set[str]:
  """One path of each real one: that without links, or the most alike.

  Args:
    root: the folder that the paths are relative to.
    files: real paths by path.
  """
  start = os.path.realpath(root)

  def order(path: str) -> tuple[bool, int, str]:
    real = files[path]
    both = zip(path.split('/')[::-1], real.split('/')[::-1], strict=False)
    alike = itertools.takewhile(lambda names: names[0] == names[1], both)
    return real != os.path.join(start, path), -len(list(alike)), path

  chosen: dict[str, str] = {}
  for path in sorted(files, key=order):
    chosen.setdefault(files[path], path)
  return set(chosen.values())


def locate(path: str, listed: dict[str, dict[str, str]]) -> str:
  """A path as the disk spells it, in any `comparable` form; '' if not there.

  Args:
    path: of a file or a folder.
    listed: the folders that have been looked into so far.
  """
  if kind(path):
    return path
  parent, name = os.path.split(path)
  folder = locate(parent or '.', listed) if name else ''
  if kind(folder) != 'folder':
    return ''
  if folder not in listed:
    names = retry.with_retries(folder, os.listdir, folder)
    listed[folder] = {comparable(name): name for name in names}
  found = listed[folder].get(comparable(name))
  return os.path.join(folder, found) if found else ''


def kind(path: str) -> str:
  """'file' or 'folder', as a local path is one; '' if nothing is there."""

  def look() -> str:
    try:
      return 'folder' if stat.S_ISDIR(os.stat(path).st_mode) else 'file'
    except (FileNotFoundError, NotADirectoryError):
      return ''

  return retry.with_retries(path, look)


def _list_entries(
  prefix: str, folder: str
) -> list[tuple[str, str, bool, bool]]:
  """Path below the root, real path, whether a folder, whether a link; sorted.

  os.walk would take a link that the disk does not give for a file.
  """

  def look():
    with os.scandir(folder) as entries:
      found = {entry.name: entry for entry in entries}
    is_locked = LOCK in found and found[LOCK].is_file()
    if is_locked or {'config.json', 'checkpoints'} <= found.keys():
      found = {k: v for k, v in found.items() if k not in _OF_A_RUN}
    return sorted(
      (prefix + name, *_follow(entry), entry.is_symlink())
      for name, entry in found.items()
      if not name.startswith('.') or name in DERIVED
    )

  return retry.with_retries(folder, look)


def _follow(entry: os.DirEntry) -> tuple[str, bool]:
  """The real path, and whether it is a folder to look into."""
  if entry.name in DERIVED:
    return entry.path, False
  if not entry.is_symlink():
    return entry.path, entry.is_dir()
  try:
    return os.path.realpath(entry.path, strict=True), entry.is_dir()
  except OSError as error:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
      return entry.path, False  # a link to nothing
    raise

"""All files below a folder, links followed."""

import errno
import os

from selfie_jax.data import disk

# Paths below a folder; how many links are on the way, and the real path.
Files = dict[str, tuple[int, str]]


def walk(root: str) -> Files:
  """All files below a folder but hidden ones.

  Links are followed. Below each folder right in `root`, a folder is walked
  once, whatever links lead to it; so links in a circle come to an end.

  Raises:
    UserError: a folder cannot be listed.
  """
  start = os.path.realpath(root)
  files, progress = {}, disk.Progress(f'Listing {root}', 'files')
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


def _entries(folder: str) -> list[tuple[str, str, bool, bool]]:
  """Name, real path, whether a folder, whether a link; sorted, none hidden."""

  def look():
    with os.scandir(folder) as entries:
      return sorted(
        (entry.name, *_follow(entry), entry.is_symlink())
        for entry in entries
        if not entry.name.startswith('.')
      )

  return disk.patiently(folder, look)


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

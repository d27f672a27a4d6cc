"""Which images a folder or a table holds: their splits and their classes."""

import collections
from collections.abc import Iterator
import csv
import dataclasses
import hashlib
import os
import posixpath

import numpy as np

from selfie_jax import errors

SUFFIXES = (
  '.jpg', '.jpeg', '.jfif', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff',
  '.avif',
)  # fmt: skip
LAYOUTS = (
  'It should be a folder DIR/train/CLASS/*.jpg with DIR/test/CLASS/*.jpg, a'
  ' folder DIR/CLASS/*.jpg, any folder of images for pretraining, or a table'
  ' FILE.csv with the first line file,label or file,label,split'
)
# Folders with such names are hardly classes.
_SPLIT_NAMES = ('train', 'training', 'test', 'testing', 'val', 'valid',
                'validation', 'eval')  # fmt: skip
_HELD_OUT = 10  # every tenth image, where there is no test split
_NAMED = 3  # so many files are named in an error


@dataclasses.dataclass(frozen=True)
class Entry:
  """An image.

  Attributes:
    file: its path below the root, with /, or an absolute one.
    label: its class; '' for unlabelled.
    split: its split; '' for none.
  """

  file: str
  label: str
  split: str


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images of a data set, sorted by path.

  Attributes:
    root: the folder that relative paths start at.
    parts: entries of the training and of the test split, by its name.
    class_names: the labels of both, sorted.
    others: which other files the folder holds, '3 .heic, 1 .txt'.
  """

  root: str
  parts: dict[str, list[Entry]]
  class_names: list[str]
  others: str

  def labels(self, split: str) -> np.ndarray:
    """Positions in class_names, -1 for unlabelled: int32, [size]."""
    numbers = {name: i for i, name in enumerate(self.class_names)} | {'': -1}
    entries = self.parts[split]
    return np.array([numbers[entry.label] for entry in entries], np.int32)


def find(path: str, train_split: str, test_split: str) -> Listing:
  """Lists the images of a folder or a table; opens none.

  Without a test split, a tenth of each class and of the unlabelled images is
  held out for it: those whose paths have the lowest SHA-256, the same on every
  machine.

  Args:
    path: a folder, or a .csv file.
    train_split: folder below `path` or value in the column `split`.
    test_split: likewise.

  Raises:
    UserError: there are no images, no such split, files of the table are
      missing, or the table lacks a column.
  """
  path = os.path.expanduser(path)
  if os.path.isdir(path):
    entries, others = _list_folder(path, (train_split, test_split))
    root = path
  elif path.lower().endswith('.csv') and os.path.isfile(path):
    entries, others = _read_table(path, train_split), ''
    root = os.path.dirname(path)
  else:
    raise errors.UserError(
      f'dataset.path={path} is neither a folder nor a .csv file on this'
      f' machine. {LAYOUTS}: type --config.dataset.path=DIR or =FILE.csv'
    )
  entries = sorted(entries, key=lambda entry: entry.file)
  parts = _choose_parts(path, entries, train_split, test_split)
  names = {entry.label for part in parts.values() for entry in part} - {''}
  return Listing(root, parts, sorted(names), others)


def _choose_parts(
  path: str, entries: list[Entry], train_split: str, test_split: str
) -> dict[str, list[Entry]]:
  by_split = collections.defaultdict(list)
  for entry in entries:
    by_split[entry.split].append(entry)
  if set(by_split) == {''}:
    by_split = {train_split: entries}
  counts = ', '.join(
    f"'{name}' ({len(part):,} images)"
    for name, part in sorted(by_split.items())
    if name
  )
  train, test = by_split.get(train_split), by_split.get(test_split)
  if not train:
    raise errors.UserError(
      f"{path} has no images of the split '{train_split}'; it has {counts}:"
      ' type --config.dataset.train_split=NAME and'
      ' --config.dataset.test_split=NAME (parts such as NAME[:10%] are for'
      ' tfds sets only)'
    )
  if not test:
    if set(by_split) - {'', train_split}:
      raise errors.UserError(
        f"{path} has no images of the split '{test_split}'; it has {counts}:"
        ' type --config.dataset.test_split=NAME'
      )
    train, test = _hold_out(train)
  if not test:
    raise errors.UserError(
      f'{path} holds {len(train)} image(s), too few to train on some and test'
      f' on others. {LAYOUTS}'
    )
  return {train_split: train, test_split: test}


def _hold_out(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
  """The rest, and a tenth of each class; one of 2 to 19 images, none of 1."""
  by_label = collections.defaultdict(list)
  for entry in entries:
    by_label[entry.label].append(entry.file)
  held_out = set()
  for files in by_label.values():
    files.sort(key=lambda file: hashlib.sha256(os.fsencode(file)).digest())
    if len(files) > 1:
      held_out.update(files[: max(1, len(files) // _HELD_OUT)])
  return (
    [entry for entry in entries if entry.file not in held_out],
    [entry for entry in entries if entry.file in held_out],
  )


def _list_folder(path: str, splits: tuple[str, str]) -> tuple[list[Entry], str]:
  """The images, and in words the other files.

  Split and class of an image are the first two folders that it lies in.
  Without folders of the splits' names, the first one is the class.
  """
  files, others = [], collections.Counter()
  for file in _walk(path):
    suffix = posixpath.splitext(file)[1].lower()
    if suffix in SUFFIXES:
      files.append(file)
    else:
      others[suffix or file] += 1
  listed = ', '.join(f'{n} {name}' for name, n in others.most_common(_NAMED))
  if not files:
    raise errors.UserError(
      f'{path} holds no image ({listed or "it is empty"}); images end in'
      f' {", ".join(SUFFIXES)}. {LAYOUTS}'
    )
  tops = {file.partition('/')[0] for file in files if '/' in file}
  has_splits = any(top in splits for top in tops) or any(
    top.lower() in _SPLIT_NAMES for top in tops
  )
  entries = []
  for file in files:
    folders = file.split('/')[:-1]
    split = folders.pop(0) if has_splits and folders else ''
    entries.append(Entry(file, folders[0] if folders else '', split))
  return entries, listed


def _walk(path: str) -> Iterator[str]:
  """All files but hidden ones, relative, with /; follows links."""

  def fail(error: OSError):
    raise errors.UserError(
      f'{error.filename} cannot be listed ({error.strerror}); make it readable,'
      ' or give another folder with --config.dataset.path=DIR'
    ) from error

  for folder, below, files in os.walk(path, followlinks=True, onerror=fail):
    prefix = os.path.relpath(folder, path).replace(os.sep, '/')
    below[:] = [
      name
      for name in below
      if not name.startswith('.') and not _leads_up(folder, name)
    ]
    for name in files:
      if not name.startswith('.'):
        yield name if prefix == '.' else f'{prefix}/{name}'


def _leads_up(folder: str, name: str) -> bool:
  """Whether it is a link to a folder above, to be followed for ever."""
  path = os.path.join(folder, name)
  here = os.path.realpath(folder) + os.sep
  return os.path.islink(path) and here.startswith(
    os.path.realpath(path) + os.sep
  )


def _read_table(path: str, train_split: str) -> list[Entry]:
  """The rows of a CSV file; where `split` is empty, it is `train_split`."""
  try:
    with open(path, encoding='utf-8-sig', newline='') as table:
      rows = csv.DictReader(table, skipinitialspace=True)
      columns = [name.strip() for name in rows.fieldnames or ()]
      rows.fieldnames = columns
      if not {'file', 'label'} <= set(columns):
        raise errors.UserError(
          f'the first line of {path} is {",".join(columns)!r}; it should be'
          ' file,label or file,label,split, and then such as'
          ' photos/1.jpg,cat (label empty for unlabelled)'
        )
      entries = []
      for row in rows:
        cells = [
          (row.get(name) or '').strip() for name in Entry.__annotations__
        ]
        entries.append(Entry(posixpath.normpath(cells[0] or '.'), *cells[1:]))
  except (UnicodeDecodeError, csv.Error) as error:
    raise errors.UserError(
      f'{path} cannot be read as a table ({error}); save it as CSV with commas,'
      ' in UTF-8'
    ) from error
  if not entries:
    raise errors.UserError(f'{path} lists no image. {LAYOUTS}')
  _check_files(path, entries)
  if 'split' in columns:
    entries = [
      dataclasses.replace(entry, split=entry.split or train_split)
      for entry in entries
    ]
  return entries


def _check_files(path: str, entries: list[Entry]) -> None:
  """Raises UserError if files are missing or listed twice."""
  counts = collections.Counter(entry.file for entry in entries)
  folder = os.path.dirname(path)
  missing = [f for f in counts if not os.path.isfile(os.path.join(folder, f))]
  twice = [file for file, count in counts.items() if count > 1]
  for wrong, what in ((missing, 'that are not there'), (twice, 'twice')):
    if wrong:
      raise errors.UserError(
        f'{path} lists {len(wrong)} files {what}: {", ".join(wrong[:_NAMED])}'
        f'{" ..." if wrong[_NAMED:] else ""}; the column file holds each image'
        f' once, by its path from {folder or "here"} or an absolute one'
      )

"""Which images a folder or a table holds: their splits and their classes."""

import collections
from collections.abc import Iterable
import csv
import dataclasses
import io
import os
import posixpath

import numpy as np

from selfie_jax import errors
from selfie_jax.data import disk
from selfie_jax.data import splits
from selfie_jax.data.photos import files as files_lib
from selfie_jax.data.photos import images

LAYOUTS = (
  'It should be a folder DIR/train/CLASS/*.jpg with DIR/test/CLASS/*.jpg, a'
  ' folder DIR/CLASS/*.jpg, any folder of images for pretraining, or a table'
  ' FILE.csv with the first line file,label or file,label,split'
)
# Folders with such names are hardly classes.
_SPLIT_NAMES = ('train', 'training', 'test', 'testing', 'val', 'valid',
                'validation', 'eval')  # fmt: skip
_NAMED, _SHOWN = 3, 200  # so many files are named in an error, cut so long


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
    splits: entries of the training and of the test split, by its name.
    class_names: the labels of both, sorted.
    others: which other files the folder holds, '3 .heic, 1 .txt'.
    warnings: what may be a mistake, a line each.
  """

  root: str
  splits: dict[str, list[Entry]]
  class_names: list[str]
  others: str
  warnings: list[str]

  def labels(self, split: str) -> np.ndarray:
    """Positions in class_names, -1 for unlabelled: int32, [size]."""
    numbers = {name: i for i, name in enumerate(self.class_names)} | {'': -1}
    entries = self.splits[split]
    return np.array([numbers[entry.label] for entry in entries], np.int32)


def find(path: str, train_split: str, test_split: str) -> Listing:
  """Lists the images of a folder or a table; opens none.

  Without a test split, some are held out for it, see `splits.hold_out`.

  Args:
    path: a folder, or a .csv file.
    train_split: folder below `path` or value in the column `split`.
    test_split: likewise.

  Raises:
    UserError: there are no images, no such split, files of the table are
      missing, or the table lacks a column.
  """
  path = os.path.expanduser(path)
  if disk.kind(path) == 'folder':
    entries, real, others = _list_folder(path, (train_split, test_split))
    root = path
  elif path.lower().endswith('.csv') and disk.kind(path) == 'file':
    entries, real, others = _read_table(path, train_split), {}, ''
    root = os.path.dirname(path)
  else:
    raise errors.UserError(
      f'dataset.path={path} is neither a folder nor a .csv file on this'
      f' machine. {LAYOUTS}: type --config.dataset.path=DIR or =FILE.csv'
    )
  by_split, warnings = collections.defaultdict(list), []
  for entry in sorted(entries, key=lambda entry: entry.file):
    by_split[entry.split].append(entry)
  if set(by_split) == {''}:
    by_split = {train_split: by_split['']}
    if train_split != 'train':
      warnings.append(
        f"it has no splits, so dataset.train_split='{train_split}' chooses none"
      )
  chosen = _choose_splits(path, by_split, train_split, test_split)
  if unused := _counted(by_split, set(by_split) - set(chosen)):
    warnings.append(f'neither trained nor tested on: {unused}')
  files = [entry.file for entries in chosen.values() for entry in entries]
  once = files_lib.once({file: real.get(file, (0, file)) for file in files})
  if again := len(files) - len(once):
    warnings.append(f'{again} images are there twice, by links; taken once')
  chosen = {
    split: [entry for entry in entries if entry.file in once]
    for split, entries in chosen.items()
  }
  if test_split not in chosen:
    both = chosen[train_split]
    held_out = splits.hold_out({entry.file: entry.label for entry in both})
    chosen = {
      train_split: [entry for entry in both if entry.file not in held_out],
      test_split: [entry for entry in both if entry.file in held_out],
    }
  if not all(chosen.values()):
    raise errors.UserError(
      f'{path} holds {len(once)} image(s), links not counted, too few to train'
      f' on some and test on others. {LAYOUTS}'
    )
  labels = {entry.label for entries in chosen.values() for entry in entries}
  return Listing(root, chosen, sorted(labels - {''}), others, warnings)


def _choose_splits(
  path: str, by_split: dict[str, list[Entry]], train_split: str, test_split: str
) -> dict[str, list[Entry]]:
  """The training images and, if they are listed apart, those to test on."""
  named = set(by_split) - {''}
  chosen = [split for split in (train_split, test_split) if split in named]
  if len(chosen) < 2 and named != {train_split}:
    missing = train_split if train_split not in named else test_split
    raise errors.UserError(
      f"{path} has no images of the split '{missing}'; it has"
      f' {_counted(by_split, named)}: type --config.dataset.train_split=NAME'
      ' and --config.dataset.test_split=NAME (parts such as NAME[:10%] are for'
      ' tfds sets only)'
    )
  return {split: by_split[split] for split in chosen}


def _counted(by_split: dict[str, list[Entry]], names: Iterable[str]) -> str:
  return ', '.join(
    f'{repr(name) if name else "no split"} ({len(by_split[name]):,} images)'
    for name in sorted(names)
  )


def _list_folder(
  path: str, names: tuple[str, str]
) -> tuple[list[Entry], files_lib.Files, str]:
  """The images, all files' real paths, and in words the other files.

  Split and class of an image are the first two folders that it lies in.
  Without folders of the splits' names, the first one is the class.
  """
  real, files, others = files_lib.walk(path), [], collections.Counter()
  for file in real:
    suffix = posixpath.splitext(file)[1].lower()
    if suffix in images.SUFFIXES:
      files.append(file)
    else:
      others[suffix or file] += 1
  listed = ', '.join(f'{n} {name}' for name, n in others.most_common(_NAMED))
  if not files:
    raise errors.UserError(
      f'{path} holds no image ({listed or "it is empty"}); images end in'
      f' {", ".join(images.SUFFIXES)}. {LAYOUTS}'
    )
  tops = {file.partition('/')[0] for file in files if '/' in file}
  has_splits = any(top in names or top.lower() in _SPLIT_NAMES for top in tops)
  entries = []
  for file in files:
    folders = file.split('/')[:-1]
    split = folders.pop(0) if has_splits and folders else ''
    entries.append(Entry(file, folders[0] if folders else '', split))
  return entries, real, listed


def _read_table(path: str, train_split: str) -> list[Entry]:
  """The rows of a CSV file; where `split` is empty, it is `train_split`."""
  entries, line = [], 1
  try:
    text = disk.read(path).decode('utf-8-sig')
    rows = csv.DictReader(
      io.StringIO(text, newline=''), skipinitialspace=True, strict=True
    )
    columns = [' '.join(name.split()) for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    if not {'file', 'label'} <= set(columns):
      raise errors.UserError(
        f'the first line of {path} is {",".join(columns)[:_SHOWN]!r}; it should'
        ' be file,label or file,label,split, and then such as'
        ' photos/1.jpg,cat (label empty for unlabelled)'
      )
    line = rows.line_num + 1
    for row in rows:
      cells = [(row.get(name) or '').strip() for name in Entry.__annotations__]
      if any('\n' in cell or '\r' in cell for cell in cells):
        raise csv.Error('a cell with several lines')
      entries.append(Entry(posixpath.normpath(cells[0] or '.'), *cells[1:]))
      line = rows.line_num + 1
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f'{path} cannot be read as a table; save it as CSV with commas, in UTF-8'
    ) from error
  except csv.Error as error:
    raise errors.UserError(
      f'{path} cannot be read from line {line} on ({error}): is a quote (") not'
      ' closed there?'
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
  progress = disk.Progress(
    f'Looking for the files of {path}', 'files', len(counts)
  )
  missing = []
  for file in counts:
    if disk.kind(os.path.join(folder, file)) != 'file':
      missing.append(file)
    progress.add(1)
  twice = [file for file, count in counts.items() if count > 1]
  for wrong, what in ((missing, 'that are not there'), (twice, 'twice')):
    if wrong:
      raise errors.UserError(
        f'{path} lists {len(wrong)} files {what}:'
        f' {", ".join(file[:_SHOWN] for file in wrong[:_NAMED])}'
        f'{" ..." if wrong[_NAMED:] else ""}; the column file holds each image'
        f' once, by its path from {folder or "here"} or an absolute one'
      )

"""Which images a folder or a table holds: their splits and their classes."""

import collections
from collections.abc import Iterable
import dataclasses
import os
import posixpath

import numpy as np

from selfie_jax import errors
from selfie_jax.data import splits
from selfie_jax.data.photos import files as files_lib
from selfie_jax.data.photos import images
from selfie_jax.data.photos import tables

LAYOUTS = (
  'It should be a folder DIR/train/CLASS/*.jpg with DIR/test/CLASS/*.jpg, a'
  ' folder DIR/CLASS/*.jpg, any folder of images for pretraining, or a table'
  ' FILE.csv with the first line file,label or file,label,split'
)
# Folders with such names are hardly classes.
_SPLIT_NAMES = ('train', 'training', 'test', 'testing', 'val', 'valid',
                'validation', 'eval')  # fmt: skip
_NAMED = 5  # so many kinds of other files are named


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images of a data set, sorted by path.

  Attributes:
    splits: entries of the training and of the test split, by its name.
    class_names: the labels of both, sorted.
    others: what else the folder holds, '3 .heic, 1 run(s), 2 @eaDir'.
    warnings: what may be a mistake, a line each.
  """

  splits: dict[str, list[files_lib.Entry]]
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
  kind = files_lib.kind(path)
  root, warnings = path, []
  if kind == 'folder':
    entries, others = _list_folder(path, (train_split, test_split))
  elif kind == 'file' and path.lower().endswith('.csv'):
    entries, others, warnings = tables.read(path, train_split)
    root = os.path.dirname(path)
    if not entries:
      raise errors.UserError(f'{path} lists no image. {LAYOUTS}')
  else:
    raise errors.UserError(
      f'dataset.path={path} is neither a folder nor a .csv file on this'
      f' machine. {LAYOUTS}: type --config.dataset.path=DIR or =FILE.csv'
    )
  by_split = collections.defaultdict(list)
  for entry in sorted(entries, key=lambda entry: entry.file):
    by_split[entry.split].append(entry)
  if set(by_split) == {''}:
    by_split = {train_split: by_split['']}
    for name, default in ((train_split, 'train'), (test_split, 'test')):
      if name != default:
        warnings.append(
          f"it has no splits, so dataset.{default}_split='{name}' chooses none"
        )
  chosen = _choose_splits(path, by_split, train_split, test_split)
  if unused := _counted(by_split, set(by_split) - set(chosen)):
    warnings.append(f'neither trained nor tested on: {unused}')
  both = [entry for entries in chosen.values() for entry in entries]
  once = files_lib.distinct(root, {entry.file: entry.real for entry in both})
  if again := len(both) - len(once):
    warnings.append(f'{again} images are there twice, by links; taken once')
  chosen = {
    split: [entry for entry in entries if entry.file in once]
    for split, entries in chosen.items()
  }
  if test_split not in chosen:
    both = chosen[train_split]
    # By the path below the folder of all: the same for a folder and a table.
    start = len(os.path.commonpath([entry.real for entry in both]))
    held_out = splits.hold_out(
      {entry.real[start:].lstrip('/'): entry.label for entry in both}
    )
    chosen = {train_split: [], test_split: []}
    for entry in both:
      is_test = entry.real[start:].lstrip('/') in held_out
      chosen[test_split if is_test else train_split].append(entry)
  if not all(chosen.values()):
    raise errors.UserError(
      f'{path} holds {len(once)} image(s), links not counted, too few to train'
      f' on some and test on others. {LAYOUTS}'
    )
  labels = {entry.label for entries in chosen.values() for entry in entries}
  return Listing(chosen, sorted(labels - {''}), others, warnings)


def _choose_splits(
  path: str,
  by_split: dict[str, list[files_lib.Entry]],
  train_split: str,
  test_split: str,
) -> dict[str, list[files_lib.Entry]]:
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


def _counted(
  by_split: dict[str, list[files_lib.Entry]], names: Iterable[str]
) -> str:
  return ', '.join(
    f'{repr(name) if name else "no split"} ({len(by_split[name]):,} images)'
    for name in sorted(names)
  )


def _list_folder(
  path: str, names: tuple[str, str]
) -> tuple[list[files_lib.Entry], str]:
  """The images, and in words what else is there."""
  files = files_lib.walk(path)
  suffixes = {file: posixpath.splitext(file)[1].lower() for file in files}
  chosen = [file for file in files if suffixes[file] in images.SUFFIXES]
  counts: collections.Counter[str] = collections.Counter()
  for file in sorted(files.keys() - set(chosen)):
    name = posixpath.basename(file)
    if name == files_lib.LOCK:
      counts['run(s)'] += 1
    elif file.endswith(files_lib.DERIVED):
      counts[name] += 1
    else:
      counts[suffixes[file] or file] += 1
  others = ', '.join(
    f'{n} {files_lib.printable(name)}' for name, n in counts.most_common(_NAMED)
  )
  if not chosen:
    raise errors.UserError(
      f'{path} holds no image ({others or "it is empty"}); images end in'
      f' {", ".join(images.SUFFIXES)}. {LAYOUTS}'
    )
  entries = [
    files_lib.Entry(file, label, split, files[file])
    for file, (split, label) in split_and_label(chosen, names).items()
  ]
  return entries, others


def split_and_label(
  files: Iterable[str], names: Iterable[str]
) -> dict[str, tuple[str, str]]:
  """Split and class of each path: the first two folders that it lies in.

  Without folders of the splits' names, the first one is the class. '' where
  there is none.

  Args:
    files: paths below the folder of the data set.
    names: of the splits.
  """
  folders = {file: file.split('/')[:-1] for file in files}
  tops = {each[0] for each in folders.values() if each}
  has_splits = any(top in names or top.lower() in _SPLIT_NAMES for top in tops)
  found = {}
  for file, each in folders.items():
    split = each.pop(0) if has_splits and each else ''
    found[file] = split, files_lib.comparable(each[0]) if each else ''
  return found

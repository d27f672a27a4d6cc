"""Tables of images, as CSV files."""

import collections
from collections.abc import Sequence
import functools
import io
import os
import posixpath
import warnings

from selfie_jax import errors
from selfie_jax.data import reading
from selfie_jax.data import retry
from selfie_jax.data.photos import files as files_lib

_COLUMNS = 'file', 'label', 'split'
_NAMED, _SHOWN = 3, 200  # so many files are named in an error, cut so long


def read(
  path: str, train_split: str
) -> tuple[list[files_lib.Entry], str, list[str]]:
  """The images of a CSV file.

  An image's split is `train_split` where it is empty, and '' where the table
  has no such column.

  Returns:
    The images; in words, what else the table holds; what may be a mistake, a
    line each.

  Raises:
    UserError: it is no table of files and labels, or a file is missing or
      listed twice.
  """
  import pandas as pd  # takes half a second

  parse = functools.partial(
    pd.read_csv,
    dtype=str,
    keep_default_na=False,
    index_col=False,
    skipinitialspace=True,
  )
  header: list[str] = []
  try:
    text = reading.read(path).decode('utf-8-sig')
    # As written: pandas would call a second column label label.1.
    first = parse(io.StringIO(text), header=None, nrows=1).fillna('')
    header = [' '.join(name.lower().split()) for name in first.iloc[0]]
    with warnings.catch_warnings():
      warnings.simplefilter('error', pd.errors.ParserWarning)
      rows = parse(io.StringIO(text)).fillna('')
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f'{path} cannot be read as a table; save it as CSV with commas, in UTF-8'
    ) from error
  except pd.errors.EmptyDataError:
    rows = pd.DataFrame()
  except pd.errors.ParserWarning as error:
    raise errors.UserError(
      f'{path} has rows with more cells than its first line,'
      f' {",".join(header)[:_SHOWN]!r}: name the column there, such as'
      ' file,label,split, or remove the commas that are too many'
    ) from error
  except pd.errors.ParserError as error:
    raise errors.UserError(
      f'{path} cannot be read ({retry.reason(error)}): is a quote (") not'
      ' closed there, or a comma too many?'
    ) from error
  rows.columns = header
  if not {'file', 'label'} <= set(header):
    raise errors.UserError(
      f'the first line of {path} is {",".join(header)[:_SHOWN]!r}; it should be'
      ' file,label or file,label,split, and then such as photos/1.jpg,cat'
      ' (label empty for unlabelled)'
    )
  for name in _COLUMNS:
    if header.count(name) > 1:
      raise errors.UserError(
        f'the first line of {path} names the column {name} twice; give one of'
        ' them another name'
      )
  columns = {
    name: rows[name].str.strip().tolist() for name in _COLUMNS if name in rows
  }
  for line, cells in enumerate(zip(*columns.values(), strict=True), start=2):
    if any('\n' in cell or '\r' in cell for cell in cells):
      raise errors.UserError(
        f'{path} cannot be read from line {line} on (a cell has several lines):'
        ' is a quote (") not closed there?'
      )
  chosen = [
    (posixpath.normpath(file), files_lib.comparable(label), split)
    for file, label, split in zip(
      columns['file'],
      columns['label'],
      [split or train_split for split in columns['split']]
      if 'split' in columns
      else [''] * len(rows),
      strict=True,
    )
    if file
  ]
  real = _find_files(path, [file for file, _, _ in chosen])
  entries = [files_lib.Entry(*row, real[row[0]]) for row in chosen]
  skipped = len(rows) - len(entries)
  others = f'{skipped} rows without a file' if skipped else ''
  unused = sorted(set(header) - {*_COLUMNS, ''})
  if 'split' in header or not unused:
    return entries, others, []
  listed = ', '.join(unused)[:_SHOWN]
  return entries, others, [f'it has no column split, and {listed} is not used']


def _find_files(path: str, files: Sequence[str]) -> dict[str, str]:
  """Real paths of a table's files; UserError if one is missing or twice."""
  folder = os.path.dirname(path)
  progress = retry.Progress(
    f'Looking for the files of {path}', 'files', len(files)
  )
  real, listed = {}, {}
  for file in files:
    place = os.path.join(folder, file)
    if (kind := files_lib.kind(place)) != 'file':
      place = files_lib.locate(place, listed)
      kind = files_lib.kind(place)
    real[file] = os.path.realpath(place) if kind == 'file' else ''
    progress.add(1)
  missing = [file for file in real if not real[file]]
  counts = collections.Counter(real[file] for file in files)
  twice = [file for file in real if counts[real[file]] > 1]
  for wrong, what in ((missing, 'that are not there'), (twice, 'twice')):
    if wrong:
      raise errors.UserError(
        f'{path} lists {len(wrong)} files {what}:'
        f' {", ".join(file[:_SHOWN] for file in wrong[:_NAMED])}'
        f'{" ..." if wrong[_NAMED:] else ""}; the column file holds each image'
        f' once, by its path from {folder or "here"} or an absolute one'
      )
  return real

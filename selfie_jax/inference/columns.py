"""Columns that are written piece by piece, to a .npz or a .parquet file.

A column is a list of strings, [n], or a float32 array, [n, dim].
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import importlib.util
import os
import pathlib
import shutil
import tempfile
import zipfile

import numpy as np

from selfie_jax import errors

Columns = dict[str, list[str] | np.ndarray]


def check(path: str) -> None:
  """Raises UserError for a file that `writer` could not write."""
  if not path.endswith(tuple(_WRITERS)):
    raise errors.UserError(
      f'{path} has an ending that is not known; give --out=FILE with one of '
      + ', '.join(_WRITERS)
    )
  if path.endswith('.parquet') and not importlib.util.find_spec('pyarrow'):
    raise errors.UserError(
      '.parquet needs pyarrow: type pip install pyarrow, or give --out=FILE.npz'
    )
  folder = pathlib.Path(path).parent
  if not os.access(folder, os.W_OK) or os.path.isdir(path):
    raise errors.UserError(
      f'{path} cannot be written; give --out=FILE in a folder that is there '
      'and can be written to'
    )


@contextlib.contextmanager
def writer(path: str) -> Iterator[Callable[[Columns], None]]:
  """A function that takes the next piece, each time with the same columns.

  The file is whole, and there when the context ends; if that ends with an
  exception, what was there before is left alone.
  """
  make = _WRITERS[pathlib.Path(path).suffix]
  with tempfile.TemporaryDirectory(dir=pathlib.Path(path).parent) as folder:
    whole = os.path.join(folder, 'whole')
    with make(folder, whole) as write:
      yield write
    os.replace(whole, path)


@contextlib.contextmanager
def _npz(folder: str, whole: str):
  """Strings wait in memory, arrays in files of their own."""
  strings: dict[str, list[str]] = {}
  shapes: dict[str, tuple[int, ...]] = {}

  def write(columns: Columns) -> None:
    for name, values in columns.items():
      if isinstance(values, list):
        strings.setdefault(name, []).extend(values)
      else:
        count = shapes.get(name, (0,))[0] + len(values)
        shapes[name] = (count, *values.shape[1:])
        with open(os.path.join(folder, name), 'ab') as file:
          file.write(values.astype('<f4').tobytes())

  yield write
  with zipfile.ZipFile(whole, 'w') as archive:
    for name, values in strings.items():
      with archive.open(f'{name}.npy', 'w', force_zip64=True) as target:
        np.lib.format.write_array(target, np.array(values))
    for name, shape in shapes.items():
      header = {'descr': '<f4', 'fortran_order': False, 'shape': shape}
      with (
        archive.open(f'{name}.npy', 'w', force_zip64=True) as target,
        open(os.path.join(folder, name), 'rb') as file,
      ):
        np.lib.format.write_array_header_1_0(target, header)
        shutil.copyfileobj(file, target)


@contextlib.contextmanager
def _parquet(folder: str, whole: str):
  """Each piece is a row group."""
  del folder
  import pyarrow
  from pyarrow import parquet

  def to_arrow(values: list[str] | np.ndarray):
    if isinstance(values, list):
      return pyarrow.array(values, pyarrow.string())
    return pyarrow.FixedSizeListArray.from_arrays(
      pyarrow.array(values.reshape(-1)), values.shape[1]
    )

  with contextlib.ExitStack() as stack:
    target = None

    def write(columns: Columns) -> None:
      nonlocal target
      table = pyarrow.table({k: to_arrow(v) for k, v in columns.items()})
      if target is None:
        target = stack.enter_context(parquet.ParquetWriter(whole, table.schema))
      target.write_table(table)

    yield write


_WRITERS = {'.npz': _npz, '.parquet': _parquet}

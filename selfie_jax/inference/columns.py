"""Columns that are written piece by piece, to a .npz or a .parquet file.

A column is a list of strings, [n], or a float32 array, [n, dim].
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import importlib.util
import os
import pathlib
import tempfile

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
def writer(
  path: str, about: dict[str, str]
) -> Iterator[Callable[[Columns], None]]:
  """A function that takes the next piece, each time with the same columns.

  What is said `about` them all stands beside them: in the schema's metadata of
  a .parquet file, as strings of no dimension in a .npz file.

  The file is there, whole, when the context ends; if that ends with an
  exception, what was there before is left alone.
  """
  make = _WRITERS[pathlib.Path(path).suffix]
  with tempfile.TemporaryDirectory(dir=pathlib.Path(path).parent) as folder:
    whole = os.path.join(folder, f'whole{pathlib.Path(path).suffix}')
    with make(whole, about) as write:
      yield write
    os.replace(whole, path)


@contextlib.contextmanager
def _npz(whole: str, about: dict[str, str]):
  """All pieces wait in memory."""
  pieces: list[Columns] = []
  yield pieces.append
  np.savez(
    whole,
    **{
      name: np.concatenate([_as_array(piece[name]) for piece in pieces])
      for name in (pieces[0] if pieces else ())
    },
    **about,
  )


@contextlib.contextmanager
def _parquet(whole: str, about: dict[str, str]):
  """Each piece is a row group."""
  import pyarrow
  from pyarrow import parquet

  with contextlib.ExitStack() as stack:
    target = None

    def write(columns: Columns) -> None:
      nonlocal target
      table = pyarrow.table(
        {
          name: values if isinstance(values, list) else _to_arrow(values)
          for name, values in columns.items()
        },
        metadata=about,
      )
      if target is None:
        target = stack.enter_context(parquet.ParquetWriter(whole, table.schema))
      target.write_table(table)

    yield write


def _as_array(values: list[str] | np.ndarray) -> np.ndarray:
  if isinstance(values, list):
    return np.array(values)
  return np.asarray(values, np.float32)


def _to_arrow(array: np.ndarray):
  import pyarrow

  return pyarrow.FixedSizeListArray.from_arrays(
    array.reshape(-1), array.shape[1]
  )


_WRITERS = {'.npz': _npz, '.parquet': _parquet}

"""What takes a while to find out about files, kept until they change."""

from collections.abc import Callable
import hashlib
import os
import pathlib
import tempfile

import numpy as np

from selfie_jax.data import datasets

Arrays = dict[str, np.ndarray]


def remembered(key: list, make: Callable[[], Arrays]) -> Arrays:
  """`make()`, or what it was when it was last called with this key.

  Args:
    key: all that the arrays follow from, such as names and sizes of files;
      its `repr` is compared.
    make: gives arrays by name.
  """
  name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
  path = datasets.cache_folder() / 'records' / f'{name}.npz'
  try:
    with np.load(path) as arrays:
      return dict(arrays)
  except (OSError, ValueError, EOFError):
    arrays = make()
    _save(path, arrays)
    return arrays


def _save(path: pathlib.Path, arrays: Arrays) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix='.npz')
    with os.fdopen(handle, 'wb') as file:
      np.savez(file, **arrays)
    # Another process may be reading or writing the same arrays.
    os.replace(partial, path)
  except OSError:
    # Without a folder that can be written, the next run looks again.
    pass

"""Checksums of what a checkpoint holds, kept in its progress.

Taken when it is saved and compared when it has been read: orbax notices a file
that is missing or truncated, but not a bit that has changed.
"""

import json
from typing import Any
import zlib

import jax
import numpy as np

ARRAYS, REST = 'checksums', 'checksum'


def seal(progress: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
  """`progress` with the checksums of a tree of host arrays, and its own."""
  progress = progress | {ARRAYS: _of_arrays(arrays)}
  return progress | {REST: _of_json(progress)}


def find_damage(progress: dict[str, Any], arrays: dict[str, Any]) -> str | None:
  """Says what is not as it was sealed; None if all is.

  Args:
    progress: as read; one without checksums, of an older version, passes.
    arrays: as read, some or all branches of the tree.
  """
  if not {ARRAYS, REST} & progress.keys():
    return None
  rest = {name: value for name, value in progress.items() if name != REST}
  if progress.get(REST) != _of_json(rest):
    return 'its progress is not what was written'
  actual = _of_arrays(arrays)
  for name, value in progress[ARRAYS].items():
    if name.partition('/')[0] in arrays and actual.get(name) != value:
      return f'{name} is not what was written'
  return None


def digest(arrays: dict[str, Any]) -> str:
  """What tells a tree of host arrays from others: eight hexadecimal digits."""
  return f'{_of_json(_of_arrays(arrays)):08x}'


def by_name(tree: Any) -> dict[str, Any]:
  """{'params/stem/conv/kernel': leaf, ...}."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _of_arrays(arrays: dict[str, Any]) -> dict[str, int]:
  """CRC-32 of data type, shape and bytes."""
  return {
    name: zlib.crc32(
      np.ascontiguousarray(x).reshape(-1).view(np.uint8),
      zlib.crc32(f'{x.dtype}{x.shape}'.encode()),
    )
    for name, x in by_name(arrays).items()
  }


def _of_json(value: dict[str, Any]) -> int:
  return zlib.crc32(json.dumps(value, sort_keys=True).encode())

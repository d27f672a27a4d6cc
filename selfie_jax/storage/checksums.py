"""Checkpoints as they were saved: checksums, and reading what is held to them.

Checksums are taken when a checkpoint is saved and compared when it has been
read: orbax notices a file that is missing or truncated, but not a bit that has
changed. A checkpoint is damaged if its files can all be read to the end and are
not what was written; an error of the disk is not damage.
"""

from collections.abc import Sequence
import json
from typing import Any
import zlib

from etils import epath
from flax import traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from selfie_jax import errors
from selfie_jax.storage import workdir as workdir_lib

ARRAYS, REST = 'checksums', 'checksum'


class Damaged(errors.UserError):
  """The files of a checkpoint can be read and are not what was written."""


def add_checksums(
  progress: dict[str, Any], arrays: dict[str, Any]
) -> dict[str, Any]:
  """`progress` with the checksums of a tree of host arrays, and its own."""
  progress = progress | {ARRAYS: _of_arrays(arrays)}
  return progress | {REST: _of_json(progress)}


def verify(progress: dict[str, Any], arrays: dict[str, Any]) -> str | None:
  """Says what differs from what was saved; None if nothing does.

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


def digest(variables: dict[str, Any]) -> str:
  """A checksum of params and batch_stats: eight hexadecimal digits."""
  network = {name: variables[name] for name in ('params', 'batch_stats')}
  return f'{_of_json(_of_arrays(jax.device_get(network))):08x}'


def name_weights(variables: dict[str, Any] | None) -> str:
  """'step 3, weights a1b2c3d4', or 'random' for none, as an identity has it."""
  if not variables:
    return 'random'
  name = f'weights {digest(variables)}'
  # A file of timm's has no step.
  return f'step {variables["step"]}, {name}' if 'step' in variables else name


def read(
  folder: epath.Path, names: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Host arrays and progress of a checkpoint, compared with its checksums.

  Args:
    folder: of the checkpoint.
    names: the branches of the state to read, which may be none; None for all.

  Raises:
    Damaged: its files can be read and are not what was written.
    UserError: the disk cannot be read, several times.
  """
  for _ in workdir_lib.attempts():
    try:
      arrays, progress = _read(folder, names)
      damage = verify(progress, arrays)
      if not damage:
        return arrays, progress
    except MemoryError:
      raise  # which says nothing of the files
    # Each of several libraries has exceptions of its own.
    except Exception as error:
      damage = errors.reason(error)
    try:
      disk_error = None
      _read_files(folder)
    except Exception as error:  # buckets have exceptions of their own
      disk_error = error
  if disk_error:
    raise errors.disk_error(
      f'{folder} cannot be read', disk_error
    ) from disk_error
  raise Damaged(f'the checkpoint {folder} is damaged: {damage}')


def files(folder: epath.Path) -> set[str]:
  """The files with something in them, such as 'state/manifest.ocdbt'.

  Of one checkpoint of a run as of the next: those of its arrays lie deeper, and
  have names of their own.
  """
  return {
    f'{item.name}/{path.name}'
    for item in folder.iterdir()
    if item.is_dir()
    for path in item.iterdir()
    if not path.is_dir() and path.stat().length
  }


def _read(
  folder: epath.Path, names: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Arrays of the host, and progress.

  Without the CheckpointManager, which waits for all processes to read alike.
  """
  progress = ocp.JsonCheckpointHandler().restore(folder / 'progress')
  if names == ():
    return {}, progress
  handler = ocp.PyTreeCheckpointHandler()
  tree = handler.metadata(folder / 'state').tree
  if names is not None:
    tree = {name: tree[name] for name in names}
  tree = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
  arrays = handler.restore(
    folder / 'state',
    args=ocp.args.PyTreeRestore(
      item=tree, restore_args=tree, partial_restore=True
    ),
  )
  return arrays, progress


def _read_files(folder: epath.Path) -> None:
  for path in folder.iterdir():
    if path.is_dir():
      _read_files(path)
    else:
      path.read_bytes()


def _of_arrays(arrays: dict[str, Any]) -> dict[str, int]:
  """CRC-32 of data type, shape and bytes."""
  return {
    name: zlib.crc32(
      np.ascontiguousarray(x).reshape(-1).view(np.uint8),
      zlib.crc32(f'{x.dtype}{x.shape}'.encode()),
    )
    for name, x in traverse_util.flatten_dict(arrays, sep='/').items()
  }


def _of_json(value: dict[str, Any]) -> int:
  return zlib.crc32(json.dumps(value, sort_keys=True).encode())

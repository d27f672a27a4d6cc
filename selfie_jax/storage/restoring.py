"""A checkpoint as it was saved: read, tried again, and held to its checksums.

An error of the disk is none of the checkpoint: damaged is one whose files can
all be read to the end and are not what was written.
"""

from collections.abc import Sequence
import logging
import time
from typing import Any

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checksums
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)


def first_whole(
  checkpoints: epath.Path,
  steps: Sequence[int],
  remedy: str,
  names: Sequence[str] | None = None,
) -> tuple[int, dict[str, Any], dict[str, Any]]:
  """The first of the steps that is whole, its arrays and its progress.

  The primary process chooses for all.

  Args:
    checkpoints: holds a folder for each step.
    steps: in the order in which they are tried.
    remedy: what to do if none is whole.
    names: the branches of the state to read; None for all.

  Raises:
    UserError: none is whole, or the disk cannot be read.
  """
  whole = {}

  def choose() -> int:
    for step in steps:
      if read := _read_whole(checkpoints / str(step), names):
        whole[step] = read
        return step
    raise errors.UserError(
      f'none of the checkpoints in {checkpoints} can be read '
      f'({", ".join(map(str, steps))}); {remedy}'
    )

  step = distributed.broadcast_from_primary(choose)
  read = whole.get(step) or _read_whole(checkpoints / str(step), names)
  if read is None:
    raise errors.UserError(
      f'process {jax.process_index()} cannot read the checkpoint of step '
      f'{step} in {checkpoints}, which process 0 can; see to it that '
      'all processes see the same files'
    )
  return step, *read


def _read_whole(
  folder: epath.Path, names: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, Any]] | None:
  """Arrays and progress of a checkpoint; None if it is damaged, which is said.

  It is damaged if all of its files can be read, but not as what was saved.

  Raises:
    UserError: the disk cannot be read, several times.
  """
  for pause in (0.0, *workdir_lib.PAUSES):
    time.sleep(pause)
    try:
      arrays, progress = _read(folder, names)
      damage = checksums.find_damage(progress, arrays)
      if not damage:
        return arrays, progress
    # Each of several libraries has exceptions of its own.
    except Exception as error:
      damage = errors.reason(error)
    try:
      disk_error = None
      _read_files(folder)
    except Exception as error:  # buckets have exceptions of their own
      disk_error = error
  if disk_error:
    raise errors.UserError(
      f'{folder} cannot be read ({disk_error}). Nothing was changed; mend the '
      'disk, then type the same command again'
    ) from disk_error
  logger.warning('The checkpoint %s is damaged: %s', folder, damage)
  return None


def _read(
  folder: epath.Path, names: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Arrays of the host, and progress.

  Past the CheckpointManager, which waits for all processes to read alike.
  """
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
  return arrays, ocp.JsonCheckpointHandler().restore(folder / 'progress')


def _read_files(folder: epath.Path) -> None:
  for path in folder.iterdir():
    if path.is_dir():
      _read_files(path)
    else:
      path.read_bytes()

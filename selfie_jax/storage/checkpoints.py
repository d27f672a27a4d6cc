"""Everything orbax: what is saved, which steps are kept, what is read back.

A checkpoint has two items: `state` (all that training needs to continue, and
all that others need of a network) and `progress` (JSON: the history of the
metrics, and the checksums that show damage). Arrays go in and come out as
arrays of the host, so any number of processes can read them.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import logging
import os
import time
from typing import Any

from etils import epath
from flax import serialization
from flax.training import train_state
import jax
import numpy as np
import orbax.checkpoint as ocp

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checksums
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

FOLDER, DAMAGED = 'checkpoints', 'damaged'


class Manager(ocp.CheckpointManager):
  """Orbax's, whose older checkpoints stay until the new one has been read.

  Attributes:
    history: the rows of the run so far; the step best in it stays.
  """

  def __init__(self, workdir: epath.Path, keep: int = 1):
    """Opens workdir/checkpoints, where so many of the newest steps stay."""
    options = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True)
    workdir_lib.exists(workdir / FOLDER)  # a file to orbax, if the disk fails
    super().__init__(workdir / FOLDER, options=options)
    self.keep = keep
    self.history: Sequence[dict[str, Any]] = ()
    self.unread: int | None = None  # the step that was saved last
    self.files: set[str] | None = None  # of the first that was read again


def save(
  manager: Manager,
  state: train_state.TrainState | dict[str, Any],
  progress: dict[str, Any],
) -> None:
  """Saves in the background; a step that is there already is left alone.

  Of the state some fields will do, if the step is among them.

  Raises:
    UserError: this checkpoint cannot be written, or the one before could not be
      or does not read back; or the run's folder is no longer there.
  """
  workdir_lib.check_in_place(manager.directory.parent)
  arrays = serialization.to_state_dict(state)
  step = int(arrays['step'])
  if step in manager.all_steps():
    return
  wait(manager)
  arrays = jax.tree.map(np.asarray, jax.device_get(arrays))
  args = ocp.args.Composite(
    state=ocp.args.PyTreeSave(arrays),
    progress=ocp.args.JsonSave(checksums.add_checksums(progress, arrays)),
  )
  with _writing(manager):
    manager.save(step, args=args, force=True)
  manager.unread = step


def wait(manager: Manager) -> None:
  """Returns when what was saved has been read again, and older ones deleted.

  The first one of a process is read whole, of the others the progress only.

  Raises:
    UserError: it cannot be written, or does not read back.
  """
  with _writing(manager):
    manager.wait_until_finished()
    superseded = distributed.broadcast_from_primary(
      lambda: _superseded(manager)
    )
    for step in superseded:
      manager.delete(step)
  manager.unread = None


def _superseded(manager: Manager) -> list[int]:
  """Reads what was saved; the steps that need not be kept beside it."""
  if manager.unread is not None:
    try:
      folder = manager.directory / str(manager.unread)
      checksums.read(folder, () if manager.files else None)
      files = checksums.files(folder)
      manager.files = manager.files or files
      if missing := manager.files - files:
        raise checksums.Damaged(f'{folder} has no {", ".join(missing)}')
    except checksums.Damaged as error:
      raise errors.UserError(
        f'{error}, although it was just written. The older ones are untouched. '
        'Check the disk, then type the same command again'
      ) from error
  older = sorted(manager.all_steps())[: -manager.keep]
  best = best_step(manager.history)
  return [step for step in older if step != best]


@errors.as_disk_error()
def saved_steps(folder: epath.Path) -> list[int]:
  """The steps of all checkpoints, newest first; UserError of the disk.

  Args:
    folder: workdir/checkpoints, which may be missing.
  """
  if not workdir_lib.exists(folder):
    return []
  for _ in workdir_lib.attempts():
    steps = _steps_on_disk(folder)
    # Orbax passes over a checkpoint whose folder it cannot look at.
    seen = {path.name for path in ocp.utils.checkpoint_steps_paths(folder)}
    hidden = {step for step in steps if str(step) not in seen}
    if not hidden:
      break
  for step in hidden:  # in a bucket, one that was not finished
    with contextlib.suppress(FileNotFoundError):  # a link to nowhere
      (folder / str(step)).stat()
  return sorted(steps - hidden, reverse=True)


def quarantine(folder: epath.Path, steps: Sequence[int]) -> None:
  """Moves workdir/checkpoints/STEP to workdir/damaged/STEP."""
  for step in steps:
    target = folder.parent / DAMAGED / str(step)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
      target.rmtree()
    (folder / str(step)).rename(target)
    logger.warning('Moved the damaged checkpoint to %s', target)


def best_step(history: Sequence[dict[str, Any]]) -> int | None:
  """The step best on the validation split (the later of two equals), if any."""
  accuracies = [
    (value, row['step'])
    for row in history
    if row['part'] == 'validation'
    for name, value in row.items()
    if name.endswith('accuracy')
  ]
  return max(accuracies)[1] if accuracies else None


def _steps_on_disk(checkpoints: epath.Path) -> set[int]:
  """Of what has the name of a checkpoint: 30, but neither 030 nor ²."""
  names = [path.name for path in checkpoints.iterdir()]
  return {int(n) for n in names if n.isdecimal() and str(int(n)) == n}


@contextlib.contextmanager
def _writing(manager: Manager) -> Iterator[None]:
  """Turns whatever keeps a checkpoint from being written into a UserError."""
  try:
    yield
  except (errors.UserError, MemoryError):
    raise
  # What a full disk raises depends on which of several libraries meets it.
  except Exception as error:
    wait_until_idle(manager.directory)
    good = max(_steps_on_disk(manager.directory), default=None)
    raise errors.disk_error(
      f'a checkpoint cannot be written to {manager.directory}',
      error,
      f'The one of step {good} is untouched. ' if good else '',
    ) from error


def wait_until_idle(folder: epath.Path) -> None:
  """Waits until no file has come for half a second, for half a minute at most.

  When one file of a checkpoint cannot be written, threads of Orbax go on with
  the others; what is tried next in this process must not meet them.
  """
  before: list[list[str]] | None = None
  for _ in range(60):
    files = [names for _, _, names in os.walk(folder)]
    if files == before:
      return
    before = files
    time.sleep(0.5)

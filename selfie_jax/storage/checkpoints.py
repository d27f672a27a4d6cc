"""Everything orbax: what is saved, which steps are kept, what is read back.

A checkpoint has two items: `state` (all that training needs to continue, and
all that others need of a network) and `progress` (JSON: the history of the
metrics, and the checksums that show damage). Arrays go in and come out as
arrays of the host, so any number of processes can read them.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import logging
from typing import Any

from etils import epath
from flax import serialization
from flax.training import train_state
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checksums
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

FOLDER = 'checkpoints'
DAMAGED = 'damaged'


def open_manager(
  workdir: epath.Path,
  keep: int | None = None,
  best_step: Callable[[], int | None] = lambda: None,
) -> ocp.CheckpointManager:
  """A manager of workdir/checkpoints.

  Args:
    workdir: the run's folder.
    keep: how many of the newest steps to keep; None opens for reading only.
    best_step: asked before steps are deleted; the one that it names stays.
  """
  if keep is None:
    options = ocp.CheckpointManagerOptions(read_only=True, create=False)
  else:
    options = ocp.CheckpointManagerOptions(
      cleanup_tmp_directories=True,
      preservation_policy=preservation_policy.AnyPreservationPolicy(
        [preservation_policy.LatestN(keep), _Preserve(best_step)]
      ),
    )
  return ocp.CheckpointManager(
    workdir / FOLDER,
    options=options,
    item_names=('state', 'progress'),
    item_handlers={
      'state': ocp.PyTreeCheckpointHandler(),
      'progress': ocp.JsonCheckpointHandler(),
    },
  )


def save(
  manager: ocp.CheckpointManager,
  state: train_state.TrainState | dict[str, Any],
  progress: dict[str, Any],
) -> None:
  """Saves in the background; a step that is there already is left alone.

  Args:
    manager: of the folder.
    state: of the training, or some of its fields, the step among them.
    progress: JSON.

  Raises:
    UserError: this checkpoint or the one before cannot be written.
  """
  arrays = serialization.to_state_dict(state)
  step = int(arrays['step'])
  if step in manager.all_steps():
    return
  arrays = jax.tree.map(np.asarray, jax.device_get(arrays))
  args = ocp.args.Composite(
    state=ocp.args.PyTreeSave(arrays),
    progress=ocp.args.JsonSave(checksums.add_checksums(progress, arrays)),
  )
  with _writing(manager):
    manager.save(step, args=args, force=True)


def wait(manager: ocp.CheckpointManager) -> None:
  """Returns when what was saved is on the disk; UserError if it cannot be."""
  with _writing(manager):
    manager.wait_until_finished()


@errors.as_disk_error()
def saved_steps(manager: ocp.CheckpointManager) -> list[int]:
  """The steps of all checkpoints, newest first; UserError of the disk."""
  for _ in workdir_lib.attempts():
    names = [path.name for path in manager.directory.iterdir()]
    on_disk = {int(name) for name in names if name.isdigit()}
    # Orbax passes over a checkpoint whose folder it cannot look at.
    hidden = on_disk.difference(manager.all_steps())
    if not hidden:
      break
    manager.reload()
  for step in hidden:  # in a bucket, one that was not finished
    (manager.directory / str(step)).stat()
  return sorted(manager.all_steps(), reverse=True)


def resume(
  manager: ocp.CheckpointManager, state: train_state.TrainState
) -> tuple[train_state.TrainState, dict[str, Any]] | None:
  """The newest valid checkpoint and its progress; None if there is none.

  Newer ones that are damaged are named and moved to workdir/damaged.

  Raises:
    UserError: there are checkpoints, but none is valid; or the disk cannot be
      read; or they are of another version of the program.
  """
  steps = distributed.broadcast_from_primary(lambda: saved_steps(manager))
  if not steps:
    return None
  step, arrays, progress = checksums.newest_valid(
    manager.directory,
    steps,
    'put back a copy of one, or delete that folder to start at step 0 again',
  )
  restored = _like(state, arrays, manager.directory / str(step))
  damaged = steps[: steps.index(step)]
  if damaged:
    distributed.broadcast_from_primary(
      lambda: _quarantine(manager.directory, damaged)
    )
    manager.reload()
    logger.warning('Going back to the checkpoint of step %d', step)
  return restored, progress


def restore_best(
  manager: ocp.CheckpointManager,
  state: train_state.TrainState,
  history: list[dict[str, Any]],
) -> train_state.TrainState:
  """The valid checkpoint that is best on the validation split.

  Raises:
    UserError: none is valid, or the disk cannot be read.
  """
  saved = saved_steps(manager)
  steps = [step for step in _ranked(history) if step in saved]
  step, arrays, _ = checksums.newest_valid(
    manager.directory, steps, 'type the same command again'
  )
  return _like(state, arrays, manager.directory / str(step))


def best_step(history: list[dict[str, Any]]) -> int | None:
  """The step best on the validation split (the later of two equals), if any."""
  return next(iter(_ranked(history)), None)


def _ranked(history: list[dict[str, Any]]) -> list[int]:
  """Steps with an accuracy on the validation split, the best first."""
  accuracies = [
    (value, row['step'])
    for row in history
    if row['part'] == 'validation'
    for name, value in row.items()
    if name.endswith('accuracy')
  ]
  return [step for _, step in sorted(accuracies, reverse=True)]


class _Preserve(preservation_policy.PreservationPolicy):
  """Keeps the step that a function names, asked each time."""

  def __init__(self, step: Callable[[], int | None]):
    self._step = step

  def should_preserve(self, checkpoints, *, context):
    del context
    step = self._step()
    return [checkpoint.step == step for checkpoint in checkpoints]


def _like(
  state: train_state.TrainState, arrays: dict[str, Any], path: epath.Path
) -> train_state.TrainState:
  """What was read from `path`, in the shape of `state`."""
  wanted = serialization.to_state_dict(state)
  read, names = checksums.by_name(arrays), checksums.by_name(wanted)
  shapes = [{k: np.shape(v) for k, v in x.items()} for x in (read, names)]
  if shapes[0] != shapes[1]:
    name = min(k for k, v in shapes[0].items() ^ shapes[1].items())
    raise errors.UserError(
      f'{path} cannot be resumed: another version of this program wrote it '
      f'({name} differs). Start a new run with --workdir=SOMEWHERE_ELSE; the '
      'weights can be used as before'
    )
  leaves = [read[name] for name in names]
  tree = jax.tree.unflatten(jax.tree.structure(wanted), leaves)
  return serialization.from_state_dict(state, tree)


@contextlib.contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
  """Turns whatever keeps a checkpoint from being written into a UserError."""
  try:
    yield
  # What a full disk raises depends on which of several libraries meets it.
  except Exception as error:
    workdir_lib.wait_until_idle(manager.directory)
    names = [path.name for path in manager.directory.iterdir()]
    good = max((int(name) for name in names if name.isdigit()), default=None)
    raise errors.UserError(
      f'a checkpoint cannot be written to {manager.directory} '
      f'({errors.reason(error)}). '
      + (f'The one of step {good} is untouched. ' if good else '')
      + 'Free disk space or fix the permissions, then type the same command '
      'again'
    ) from error


def _quarantine(checkpoints: epath.Path, steps: Iterable[int]) -> None:
  """Moves workdir/checkpoints/STEP to workdir/damaged/STEP."""
  for step in steps:
    target = checkpoints.parent / DAMAGED / str(step)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
      target.rmtree()
    (checkpoints / str(step)).rename(target)
    logger.warning('Moved the damaged checkpoint to %s', target)

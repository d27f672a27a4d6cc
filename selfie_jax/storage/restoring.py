"""A training's state from its checkpoints: the newest valid, or the best.

To resume, an older one may take the place of one that is damaged, since its
steps are trained again. To test, no other may.
"""

from collections.abc import Iterable
import logging
from typing import Any

from etils import epath
from flax import serialization
from flax.training import train_state
import jax
import numpy as np

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums

logger = logging.getLogger(__name__)

DAMAGED = 'damaged'


def resume(
  manager: checkpoints.Manager, state: train_state.TrainState
) -> tuple[train_state.TrainState, dict[str, Any]] | None:
  """The newest valid checkpoint and its progress; None if there is none.

  Newer ones that are damaged are named and moved to workdir/damaged.

  Raises:
    UserError: there are checkpoints, but none is valid; or the disk cannot be
      read; or they are of another version of the program.
  """
  steps = distributed.broadcast_from_primary(
    lambda: checkpoints.saved_steps(manager)
  )
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
  manager: checkpoints.Manager,
  state: train_state.TrainState,
  history: list[dict[str, Any]],
) -> train_state.TrainState:
  """`state` with the network of the checkpoint best on the validation split.

  Raises:
    UserError: it is not there or damaged, or the disk cannot be read.
  """
  step = checkpoints.best_step(history)
  remedy = (
    'it is the best on the validation split. Put back a copy of it, or delete '
    f'{manager.directory} to start at step 0 again'
  )
  folder = manager.directory / str(step)
  if step not in checkpoints.saved_steps(manager):
    raise errors.UserError(f'there is no checkpoint {folder}; {remedy}')
  _, arrays, _ = checksums.newest_valid(
    manager.directory, [step], remedy, checkpoints.NETWORK
  )
  network = {name: getattr(state, name) for name in checkpoints.NETWORK}
  return state.replace(**_like(network, arrays, folder))


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


def _quarantine(folder: epath.Path, steps: Iterable[int]) -> None:
  """Moves workdir/checkpoints/STEP to workdir/damaged/STEP."""
  for step in steps:
    target = folder.parent / DAMAGED / str(step)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
      target.rmtree()
    (folder / str(step)).rename(target)
    logger.warning('Moved the damaged checkpoint to %s', target)

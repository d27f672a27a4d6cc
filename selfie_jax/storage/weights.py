"""Checkpoints read back: to resume a training, to test its best, to use it.

To resume, an older one may take the place of one that is damaged, since its
steps are trained again. Where one is meant, no other is used.
"""

from collections.abc import Sequence
import contextlib
import logging
from typing import Any

from etils import epath
from flax import serialization
from flax import traverse_util
from flax.training import train_state
import jax
import numpy as np

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

NETWORK = ('step', 'params', 'batch_stats')  # of the state


def restore(run: str, step: int = -1) -> dict[str, Any]:
  """Parameters and batch statistics of a run.

  With several processes, all of them must call it.

  Args:
    run: the run's folder.
    step: of the checkpoint; -1 for the one that the run's results are of if it
      is finished, else the newest. No other is taken in its place.

  Returns:
    {'step': ..., 'params': ..., 'batch_stats': ...} on one device, whatever
    number of devices wrote them.

  Raises:
    UserError: there is no checkpoint (of that step), or none that can be read;
      or it is of another run than the folder.
  """
  workdir = workdir_lib.run_path(run)
  config = identity_lib.load_config(workdir)
  identity = identity_lib.identify(config, workdir) if config else {}
  folder = workdir / checkpoints.FOLDER
  steps = checkpoints.saved_steps(folder)
  results = run_metadata.load(workdir, 'results.json') or {}
  if not steps and results:
    raise errors.UserError(
      f'{run} is finished and has lost its checkpoints; put back a copy of '
      f'{folder}, or {run_metadata.NEW_RUN}'
    )
  if not steps:
    raise errors.UserError(
      f'{run} has no checkpoint yet; a run saves one every '
      '--config.checkpoint_every=STEPS. Type its command again, and wait for '
      'the first'
    )
  if config and not results:
    unfinished = '%s is not finished: its newest checkpoint is of step %d of %d'
    logger.warning(unfinished, run, steps[0], config.total_steps)
  tested = results.get('checkpoint', steps[0])
  remedy = 'type its command again: it goes back to the one before'
  if results:
    remedy = f'put back its copy, or {run_metadata.NEW_RUN}'
  step = tested if step == -1 else step
  if step not in steps:
    its_results = ', which its results are of' if step == tested else ''
    raise errors.UserError(
      f'{run} has no checkpoint of step {step}{its_results}, but of '
      f'{", ".join(map(str, sorted(steps)))}. Put back its copy, or use one of '
      'these. A run keeps its newest --config.keep_checkpoints=N, one every '
      '--config.checkpoint_every=STEPS'
    )
  _, arrays, progress = _newest_valid(folder, [step], remedy, NETWORK)
  name = f'{checkpoints.FOLDER}/{step}'
  identity_lib.check(identity, progress, workdir, name)
  expected = results.get('weights') if step == tested else None
  if expected and expected != checksums.digest(arrays):
    raise errors.UserError(
      f'{workdir / name} has other weights than the results of {run}; {remedy}'
    )
  return jax.device_put(arrays, jax.local_devices()[0])


def resume(
  manager: checkpoints.Manager,
  state: train_state.TrainState,
  identity: identity_lib.Identity,
) -> (
  tuple[train_state.TrainState, dict[str, Any], identity_lib.Identity] | None
):
  """The newest valid checkpoint; None if there is none.

  Newer ones that are damaged are named and moved to workdir/damaged.

  Returns:
    The state, of the shapes of `state`; the progress; the run's identity, with
    what the checkpoint adds to it.

  Raises:
    UserError: there are checkpoints, but none is valid; or the disk cannot be
      read; or they are of another run or another version of the program, or the
      best is.
  """
  steps = distributed.broadcast_from_primary(
    lambda: checkpoints.saved_steps(manager.directory)
  )
  if not steps:
    return None
  step, arrays, progress = _newest_valid(
    manager.directory,
    steps,
    f'put back a copy of one, or delete {manager.directory} to start at step 0 '
    'again',
  )
  restored = _like(state, arrays, manager.directory / str(step))
  damaged = steps[: steps.index(step)]
  if damaged:
    distributed.broadcast_from_primary(
      lambda: checkpoints.quarantine(manager.directory, damaged)
    )
    logger.warning('Going back to the checkpoint of step %d', step)
  manager.reload()  # which may have passed over one, or has one too many
  identity = distributed.broadcast_from_primary(
    lambda: _check_identity(identity, manager, step, progress)
  )
  return restored, progress, identity


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
  folder = manager.directory / str(step)
  remedy = (
    'it is the best on the validation split. Put back a copy of it, or delete '
    f'{manager.directory} to start at step 0 again'
  )
  if step not in checkpoints.saved_steps(manager.directory):
    raise errors.UserError(f'there is no checkpoint {folder}; {remedy}')
  _, arrays, _ = _newest_valid(manager.directory, [step], remedy, NETWORK)
  network = {name: getattr(state, name) for name in NETWORK}
  return state.replace(**_like(network, arrays, folder))


def _check_identity(
  identity: identity_lib.Identity,
  manager: checkpoints.Manager,
  step: int,
  progress: dict[str, Any],
) -> identity_lib.Identity:
  """Compares a run with its checkpoint of `step`, and with its best so far."""
  folder = manager.directory
  saved = {f'{folder.name}/{step}': progress}
  best = checkpoints.best_step(progress['history'])
  if best not in (None, step):
    # If it cannot be read, a later one may be better yet.
    with contextlib.suppress(errors.UserError):
      _, saved[f'{folder.name}/{best}'] = checksums.read(folder / str(best), ())
  for name, each in saved.items():
    identity = identity_lib.check(identity, each, folder.parent, name)
  return identity


def _newest_valid(
  folder: epath.Path,
  steps: Sequence[int],
  remedy: str,
  names: Sequence[str] | None = None,
) -> tuple[int, dict[str, Any], dict[str, Any]]:
  """The first of the steps that is valid, its host arrays and its progress.

  The primary process chooses for all. Of the state only the branches `names`
  are read, or all; damage to the others does not matter. UserError, which ends
  with the remedy, if none is valid or the disk cannot be read.
  """
  valid = {}

  def read(step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return checksums.read(folder / str(step), names)

  def choose() -> int:
    damages = []
    for step in steps:
      try:
        valid[step] = read(step)
      except checksums.Damaged as error:
        damages.append(str(error))
        continue
      for damage in damages:
        logger.warning('%s', damage)
      return step
    raise errors.UserError('; '.join([*damages, remedy]))

  step = distributed.broadcast_from_primary(choose)
  try:
    arrays, progress = valid.get(step) or read(step)
  except checksums.Damaged as error:
    raise errors.UserError(
      f'process {jax.process_index()} cannot read the checkpoint of step '
      f'{step} in {folder}, which process 0 can read; make sure that all '
      'processes see the same files'
    ) from error
  return step, arrays, progress


def _like(
  state: train_state.TrainState, arrays: dict[str, Any], path: epath.Path
) -> train_state.TrainState:
  """What was read from `path`, in the shape of `state`."""
  wanted = serialization.to_state_dict(state)
  read, expected = (
    traverse_util.flatten_dict(tree, sep='/') for tree in (arrays, wanted)
  )
  if 'opt_state' in wanted and 'opt_state' not in arrays:
    raise errors.UserError(
      f'{path} cannot be resumed: it was exported without the state of its '
      'optimizer. Give its folder to another job as --config.init_from'
    )
  shapes = [{(k, np.shape(v)) for k, v in x.items()} for x in (read, expected)]
  if differing := shapes[0] ^ shapes[1]:
    name, _ = min(differing)
    raise errors.UserError(
      f'{path} cannot be resumed: another version of this program wrote it '
      f'({name} differs). Start a new run with --workdir=SOMEWHERE_ELSE; the '
      'weights can be used as before'
    )
  # With what is empty, which has no arrays.
  tree = traverse_util.flatten_dict(wanted, keep_empty_nodes=True, sep='/')
  tree = traverse_util.unflatten_dict(tree | read, sep='/')
  return serialization.from_state_dict(state, tree)

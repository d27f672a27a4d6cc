"""Everything orbax: what is saved, which steps are kept, what is read back.

A checkpoint has two items: `state` (all that training needs to go on, and all
that others need of a network) and `progress` (JSON: the history of the
metrics). Beside them lies the list of its files with their checksums, so that
one that was damaged is known before anything is read from it.
"""

from collections.abc import Callable
import functools
import json
import logging
from typing import Any

from etils import epath
from flax import serialization
import jax
from jax.experimental import multihost_utils
import ml_collections
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checksums
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import train_state

logger = logging.getLogger(__name__)

FOLDER = 'checkpoints'
_WEIGHTS = ('step', 'params', 'batch_stats')


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
      # Called when all files are there, but not yet under their final name.
      async_options=ocp.AsyncOptions(
        post_finalization_callback=functools.partial(
          checksums.list_newest, workdir / FOLDER
        )
        if distributed.is_primary()
        else None
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
  state: train_state.TrainState,
  progress: dict[str, Any],
) -> None:
  """Saves in the background; a step that is there already is left alone.

  Raises:
    UserError: this checkpoint or the one before cannot be written.
  """
  step = int(state.step)
  if step in manager.all_steps():
    return
  arrays = serialization.to_state_dict(state)
  if jax.process_count() > 1:
    arrays = multihost_utils.host_local_array_to_global_array(
      arrays, *_everywhere()
    )
  _writing(
    manager,
    lambda: manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(arrays),
        progress=ocp.args.JsonSave(progress),
      ),
      force=True,
    ),
  )


def wait(manager: ocp.CheckpointManager) -> None:
  """Returns when what was saved is on the disk.

  Raises:
    UserError: it cannot be written.
  """
  _writing(manager, manager.wait_until_finished)


def resume(
  manager: ocp.CheckpointManager, state: train_state.TrainState
) -> tuple[train_state.TrainState, dict[str, Any]] | None:
  """The newest checkpoint that is whole, and its progress; None for none.

  Newer ones that are damaged are named and put aside.

  Raises:
    UserError: there are checkpoints, but not one of them is whole.
  """
  steps = sorted(manager.all_steps(), reverse=True)
  if not steps:
    return None
  place = 0
  if distributed.is_primary():
    place = next(
      (i for i, step in enumerate(steps) if is_whole(manager, step)), -1
    )
  place = distributed.choose(place)
  if place < 0:
    raise errors.UserError(
      f'none of the checkpoints in {manager.directory} can be read '
      f'({", ".join(map(str, steps))}). Put back a copy of one, or delete that '
      'folder to start at step 0 again'
    )
  if place:
    if distributed.is_primary():
      for step in steps[:place]:
        checksums.put_aside(manager.directory / str(step))
    multihost_utils.sync_global_devices('damaged checkpoints put aside')
    manager.reload()
    logger.warning('Going back to the checkpoint of step %d', steps[place])
  return restore(manager, state, steps[place])


def restore(
  manager: ocp.CheckpointManager, state: train_state.TrainState, step: int
) -> tuple[train_state.TrainState, dict[str, Any]]:
  """Reads step `step` into the shape of `state`; returns it and progress."""
  mesh, spec = _everywhere()
  sharding = jax.sharding.NamedSharding(mesh, spec)
  arrays = serialization.to_state_dict(state)
  read = _read(manager, step, jax.tree.map(lambda _: sharding, arrays))
  local = multihost_utils.global_array_to_host_local_array(
    read.state, mesh, spec
  )
  # Laid out as the steps return it, so that they are compiled once.
  local = jax.device_put(local, jax.tree.map(lambda x: x.sharding, arrays))
  return serialization.from_state_dict(state, local), read.progress


def restore_weights(run: str, step: int = -1) -> dict[str, Any]:
  """Parameters and batch statistics of a run.

  Args:
    run: the run's folder.
    step: of the checkpoint; -1 for the one that the run's results are of if it
      is finished, else the newest.

  Returns:
    {'step': ..., 'params': ..., 'batch_stats': ...} on one device, whatever
    number of devices wrote them.

  Raises:
    UserError: there is no checkpoint (of that step), or none that can be read.
  """
  workdir = workdir_lib.run_path(run)
  if not (workdir / FOLDER).exists():
    raise errors.UserError(
      f'{run} has no checkpoint yet; they come each '
      '--config.checkpoint_every=STEPS. Type its command again, and wait for '
      'the first'
    )
  with open_manager(workdir) as manager:
    steps = sorted(manager.all_steps(), reverse=True)
    if step != -1 and step not in steps:
      raise errors.UserError(
        f'{run} has no checkpoint of step {step}, but of '
        f'{", ".join(map(str, sorted(steps)))}; a run keeps its newest '
        '--config.keep_checkpoints=N, one each --config.checkpoint_every=STEPS'
      )
    chosen = _chosen_step(workdir)
    # The chosen one is tried first, then from the newest to the oldest.
    steps.sort(key=lambda step: step != chosen)
    steps = steps if step == -1 else [step]
    step = next((step for step in steps if is_whole(manager, step)), None)
    if step is None:
      raise errors.UserError(
        f'none of the checkpoints of {run} can be read; run its job again with '
        '--workdir=SOMEWHERE_ELSE'
      )
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    tree = manager.item_metadata(step)['state'].tree
    shardings = {
      name: jax.tree.map(lambda _: device, tree[name]) for name in _WEIGHTS
    }
    return _read(manager, step, shardings).state


def best_step(history: list[dict[str, Any]]) -> int | None:
  """The step best on the validation part (the later of two equals), if any."""
  accuracies = [
    (value, row['step'])
    for row in history
    if row['part'] == 'validation'
    for name, value in row.items()
    if name.endswith('accuracy')
  ]
  return max(accuracies)[1] if accuracies else None


def is_whole(manager: ocp.CheckpointManager, step: int) -> bool:
  """Whether all files of a checkpoint are what was saved; says if not."""
  return checksums.is_whole(manager.directory / str(step))


def pretraining_config(run: str) -> ml_collections.ConfigDict:
  """The config of a pretraining run; UserError if `run` is none."""
  saved = config_lib.load(workdir_lib.run_path(run))
  if saved is None:
    raise errors.UserError(
      f'init_from={run} is not a run: no config.json there. Give the folder '
      'of a pretraining run, such as --config.init_from=runs/cifar_pretrain'
    )
  if saved.mode != 'pretrain':
    raise errors.UserError(
      f'init_from={run} is a run of mode={saved.mode}; give the folder of a '
      'pretraining run, such as --config.init_from=runs/cifar_pretrain'
    )
  return saved


def _chosen_step(workdir: epath.Path) -> int | None:
  """The step that the run's results are of, if it is finished."""
  path = workdir / 'results.json'
  return (
    json.loads(path.read_text()).get('checkpoint') if path.exists() else None
  )


class _Preserve(preservation_policy.PreservationPolicy):
  """Keeps one step, which is asked for anew each time."""

  def __init__(self, step: Callable[[], int | None]):
    self._step = step

  def should_preserve(self, checkpoints, *, context):
    del context
    step = self._step()
    return [checkpoint.step == step for checkpoint in checkpoints]


def _everywhere():
  """A mesh of all devices of all processes, and the same data on each."""
  mesh = jax.sharding.Mesh(jax.devices(), (train_state.AXIS,))
  return mesh, jax.sharding.PartitionSpec()


def _read(manager: ocp.CheckpointManager, step: int, shardings=None):
  """The items of a step: progress, and of state what `shardings` names."""
  items = {'progress': ocp.args.JsonRestore()}
  if shardings is not None:
    items['state'] = ocp.args.PyTreeRestore(
      item=shardings,
      restore_args=jax.tree.map(
        lambda sharding: ocp.ArrayRestoreArgs(sharding=sharding), shardings
      ),
      partial_restore=True,
    )
  return manager.restore(step, args=ocp.args.Composite(**items))


def _writing(manager: ocp.CheckpointManager, action: Callable) -> None:
  try:
    action()
  # What a full disk raises depends on which of several libraries meets it.
  except Exception as error:
    good = max((s for s in _steps_on_disk(manager)), default=None)
    raise errors.UserError(
      f'a checkpoint cannot be written to {manager.directory} '
      f'({" ".join(str(error).split())[:300]}). '
      + (f'The one of step {good} is untouched. ' if good else '')
      + 'Make room or mend the folder, then type the same command again'
    ) from error


def _steps_on_disk(manager: ocp.CheckpointManager) -> list[int]:
  names = [path.name for path in manager.directory.iterdir()]
  return [int(name) for name in names if name.isdigit()]

"""Everything orbax: what is saved, which steps are kept, what is read back.

A checkpoint has three items: `state` (all that training needs to go on),
`weights` (parameters and batch statistics alone, for finetuning and export)
and `progress` (JSON: the history of the metrics).
"""

import os
from typing import Any

from etils import epath
from flax import serialization
import jax
import ml_collections
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax import task


def run_path(workdir: str | os.PathLike[str]) -> epath.Path:
  """The folder of a run, absolute unless it is a bucket's address."""
  text = os.fspath(workdir)
  return epath.Path(text if '://' in text else os.path.abspath(text))


def open_manager(
  workdir: epath.Path, keep: int | None = None
) -> ocp.CheckpointManager:
  """A manager of workdir/checkpoints.

  Args:
    workdir: the run's folder.
    keep: how many of the newest steps to keep, besides the best by validation
      accuracy; None opens for reading only.
  """
  if keep is None:
    options = ocp.CheckpointManagerOptions(read_only=True)
  else:
    best = preservation_policy.BestN(
      get_metric_fn=lambda metrics: metrics['validation_accuracy'],
      n=1,
      keep_checkpoints_without_metrics=False,
    )
    options = ocp.CheckpointManagerOptions(
      cleanup_tmp_directories=True,
      preservation_policy=preservation_policy.AnyPreservationPolicy(
        [preservation_policy.LatestN(keep), best]
      ),
    )
  return ocp.CheckpointManager(
    workdir / 'checkpoints',
    options=options,
    item_names=('state', 'weights', 'progress'),
    item_handlers={
      'state': ocp.StandardCheckpointHandler(),
      'weights': ocp.StandardCheckpointHandler(),
      'progress': ocp.JsonCheckpointHandler(),
    },
  )


def save(
  manager: ocp.CheckpointManager,
  state: task.TrainState,
  progress: dict[str, Any],
  validation_accuracy: float | None = None,
) -> None:
  """Saves in the background; a step that is there already is left alone."""
  step = int(state.step)
  if step in manager.all_steps():
    return
  metrics = None
  if validation_accuracy is not None:
    metrics = {'validation_accuracy': validation_accuracy}
  arrays = serialization.to_state_dict(state)
  weights = {name: arrays[name] for name in ('params', 'batch_stats')}
  manager.save(
    step,
    metrics=metrics,
    args=ocp.args.Composite(
      state=ocp.args.StandardSave(arrays),
      weights=ocp.args.StandardSave(weights),
      progress=ocp.args.JsonSave(progress),
    ),
  )


def restore(
  manager: ocp.CheckpointManager, state: task.TrainState, step: int
) -> tuple[task.TrainState, dict[str, Any]]:
  """Reads step `step` into the shape of `state`; returns it and progress."""
  target = jax.tree.map(
    ocp.utils.to_shape_dtype_struct, serialization.to_state_dict(state)
  )
  read = manager.restore(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardRestore(target), progress=ocp.args.JsonRestore()
    ),
  )
  return serialization.from_state_dict(state, read.state), read.progress


def restore_weights(run: str) -> dict[str, Any]:
  """Parameters and batch statistics of a run's newest checkpoint.

  Args:
    run: the run's folder.

  Returns:
    {'params': ..., 'batch_stats': ...} on one device, whatever number of
    devices wrote them.

  Raises:
    UserError: there is no checkpoint.
  """
  workdir = run_path(run)
  if (workdir / 'checkpoints').exists():
    with open_manager(workdir) as manager:
      step = manager.latest_step()
      if step is not None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        metadata = manager.item_metadata(step)['weights']
        target = jax.tree.map(
          lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
          metadata.tree if hasattr(metadata, 'tree') else metadata,
        )
        return manager.restore(
          step,
          args=ocp.args.Composite(weights=ocp.args.StandardRestore(target)),
        ).weights
  raise errors.UserError(
    f'{run} has no checkpoint yet. Pretrain first, for instance: python '
    f'main.py --config=configs/digits_pretrain.py --workdir={run}'
  )


def pretraining_config(run: str) -> ml_collections.ConfigDict:
  """The config of a pretraining run; UserError if `run` is none."""
  saved = config_lib.load(run_path(run))
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

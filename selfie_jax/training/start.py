"""Where a run's weights come from."""

import logging
from typing import Any

from flax.training import train_state
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import run_metadata
from selfie_jax.storage import timm_weights
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

# Fields in which a finetuning job is as its pretraining: for every network, for
# one with A, and for one with A and positions.
_OF_P = ('model.width', 'model.stem', 'normalise.mean', 'normalise.std')
_OF_A = (
  'model.closing_norm',
  'model.context_positions',
  'model.attention.num_layers',
  'model.attention.num_heads',
  'model.attention.hidden',
)
_OF_POSITIONS = ('model.positions', 'image_size', 'patch_size')


def restore_or_create(
  task, config: ml_collections.ConfigDict, num_classes: int, manager
) -> tuple[train_state.TrainState, dict[str, Any] | None]:
  """The state that a run begins with, and the progress saved with it, if any.

  Args:
    task: a module of tasks/.
    config: the job.
    num_classes: of the data set.
    manager: of the run's checkpoints.

  Returns:
    The state, a copy on each local device, laid out as the steps return it, so
    that they are compiled once; the progress.

  Raises:
    UserError: no checkpoint of the run can be read; or init_from is nothing
      to start from, or does not fit the model.
  """
  # 1. The newest checkpoint of the run itself.
  shapes = jax.eval_shape(lambda: task.create_state(config, num_classes))
  if resumed := checkpoints.resume(manager, shapes):
    state, progress = resumed
    logger.info('Continuing from step %d of %d', state.step, config.total_steps)
  else:
    # 2. The weights of config.init_from, or 3. random ones.
    pretrained, progress = read_pretrained(config), None
    state = task.create_state(config, num_classes, pretrained)
  return jax.device_put(state, distributed.local_sharding()), progress


def read_pretrained(
  config: ml_collections.ConfigDict,
) -> dict[str, Any] | None:
  """Parameters and batch statistics that config.init_from names, if it does.

  Raises:
    UserError: it is neither a pretraining run nor a .safetensors file of
      timm's, or its network means something else.
  """
  if config.mode != 'finetune' or not config.init_from:
    return None
  if config.init_from.endswith('.safetensors'):
    return timm_weights.read(config.init_from)
  _check_same_model(config)
  return weights.restore(config.init_from)


def _check_same_model(config: ml_collections.ConfigDict) -> None:
  """Refuses an init_from whose weights would mean something else here."""
  pretraining = run_metadata.load_config(workdir_lib.run_path(config.init_from))
  if pretraining is None or pretraining.mode != 'pretrain':
    what = (
      'is not a run: no config.json there'
      if pretraining is None
      else f'is a run of mode={pretraining.mode}'
    )
    raise errors.UserError(
      f'init_from={config.init_from} {what}; give the folder of a pretraining '
      'run, such as --config.init_from=runs/cifar_pretrain'
    )
  saved, ours = config_lib.flatten(pretraining), config_lib.flatten(config)
  fields = _OF_P
  if config.model.name == 'resnet36_attention':
    fields += _OF_A
    if config.model.context_positions:
      fields += _OF_POSITIONS
  wrong = [
    f'config.{field}={ours[field]} (pretrained: {saved[field]})'
    for field in fields
    if ours[field] != saved[field]
  ]
  if wrong:
    raise errors.UserError(
      f'init_from={config.init_from} does not fit: {", ".join(wrong)}. Give '
      'these fields the values of the pretraining run'
    )

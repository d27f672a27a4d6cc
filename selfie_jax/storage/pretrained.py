"""The weights that a job starts from, config.init_from."""

import logging
from typing import Any

import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import identity
from selfie_jax.storage import timm_weights
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

# Fields in which a finetuning job must equal its pretraining: for every
# network, for one with attention, and for one with attention and positions.
_PATCH_NETWORK_FIELDS = (
  'model.width', 'model.stem', 'normalise.mean', 'normalise.std',
)  # fmt: skip
_ATTENTION_FIELDS = (
  'model.closing_norm', 'model.context_positions', 'model.attention.num_layers',
  'model.attention.num_heads', 'model.attention.hidden',
)  # fmt: skip
_POSITION_FIELDS = ('model.positions', 'image_size', 'patch_size')


def read(config: ml_collections.ConfigDict) -> dict[str, Any] | None:
  """Parameters and batch statistics of config.init_from; None without it.

  Raises:
    UserError: it is neither a pretraining run nor a .safetensors file of
      timm's, or its network differs.
  """
  if config.mode == 'pretrain' or not config.init_from:
    return None
  if config.init_from.endswith('.safetensors'):
    says = '%s starts a network whose images have mean %s and deviation %s'
    colours = config.normalise.mean, config.normalise.std
    logger.info(says, config.init_from, *colours)
    return timm_weights.read(config.init_from)
  if config.mode == 'probe':
    return weights.restore(config.init_from, max(config.init_steps, default=-1))
  _check_same_model(config)
  return weights.restore(config.init_from)


def _check_same_model(config: ml_collections.ConfigDict) -> None:
  workdir = workdir_lib.run_path(config.init_from)
  pretraining = identity.load_config(workdir)
  what = 'not a run: no config.json there'
  if pretraining:
    what = f'a run of mode={pretraining.mode}'
  if pretraining is None or pretraining.mode != 'pretrain':
    raise errors.UserError(
      f'init_from={config.init_from} is {what}; give the folder of a '
      'pretraining run, such as --config.init_from=runs/cifar_pretrain'
    )
  saved, ours = config_lib.flatten(pretraining), config_lib.flatten(config)
  fields = _PATCH_NETWORK_FIELDS
  if config.model.name == 'resnet36_attention':
    fields += _ATTENTION_FIELDS
    if config.model.context_positions:
      fields += _POSITION_FIELDS
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

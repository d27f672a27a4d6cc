"""What a valid job is: which values its fields may have.

configs/common.py says what the fields mean.
"""

from collections.abc import Callable
import dataclasses
import math
import pathlib
from typing import Any

import ml_collections

from selfie_jax import errors
from selfie_jax.models import attention
from selfie_jax.models import patches
from selfie_jax.models import resnet
from selfie_jax.models import selfie

MODES = ('pretrain', 'finetune', 'probe')


@dataclasses.dataclass(frozen=True)
class Rule:
  """Which values a field may have, in words ('' for any) and as a function."""

  valid: str
  holds: Callable[[Any], bool]


def _one_of(*choices: str) -> Rule:
  return Rule('one of ' + ', '.join(choices), lambda value: value in choices)


def _within(brackets: str, low: float, high: float = math.inf) -> Rule:
  """Numbers between two bounds, which '[' and ']' include."""
  left, right = brackets[0], brackets[1]
  return Rule(
    f'in {left}{low}, {high}{right}',
    lambda value: (
      (value >= low if left == '[' else value > low)
      and (value <= high if right == ']' else value < high)
    ),
  )


_ANY = Rule('', lambda value: True)
_COUNT = Rule('a whole number of at least 1', lambda value: value >= 1)

# Every field of every job.
FIELDS: dict[str, Rule] = {
  **dict.fromkeys((
    'init_from', 'init_steps', 'normalise.mean', 'normalise.std',
    'dataset.name', 'dataset.path', 'dataset.data_dir', 'dataset.download',
    'dataset.train_split', 'dataset.test_split', 'augment.flip', 'model.depths',
    'model.closing_norm', 'model.sync_batch_norm', 'model.context_positions',
    'optimizer.nesterov', 'optimizer.decay_norms_and_biases', 'probe.features',
    'probe.strengths',
  ), _ANY),
  **dict.fromkeys((
    'batch_size', 'eval_batch_size', 'total_steps', 'image_size', 'patch_size',
    'log_every', 'eval_every', 'checkpoint_every', 'keep_checkpoints',
    'dataset.read_ahead', 'dataset.shuffle_block', 'model.width',
    'model.attention.num_layers', 'model.attention.num_heads',
    'model.attention.hidden', 'knn.neighbours', 'probe.max_iter',
    'probe.neighbours',
  ), _COUNT),
  'mode': _one_of(*MODES),
  'dtype': _one_of('float32', 'bfloat16'),
  'augment.crop': _one_of('pad', 'random_resized', 'none'),
  'augment.border': _one_of('zero', 'reflect'),
  'model.name': _one_of('selfie', 'resnet50', 'resnet36_attention'),
  'model.stem': _one_of(*resnet.STEMS),
  'model.positions': _one_of(*attention.POSITIONS),
  'model.logit_scale': _one_of(*selfie.LOGIT_SCALES),
  'seed': _within('[)', 0, 2**32),
  'label_fraction': _within('(]', 0, 1),
  'validation_fraction': _within('[)', 0, 1),
  'masked_fraction': _within('()', 0, 1),
  'profile_steps': _within('[)', 0),
  'dataset.max_unreadable': _within('[]', 0, 1),
  'dataset.cache_gib': _within('[)', 0),
  'augment.padding': _within('[)', 0),
  'augment.min_area': _within('(]', 0, 1),
  'model.norm_momentum': _within('[)', 0, 1),
  'model.attention.dropout': _within('[)', 0, 1),
  'optimizer.learning_rate': _within('()', 0),
  'optimizer.warmup_steps': _within('[)', 0),
  'optimizer.momentum': _within('[)', 0, 1),
  'optimizer.weight_decay': _within('[)', 0),
  'knn.every': _within('[)', 0),
  'knn.images': _within('[)', 5),
  'knn.temperature': _within('()', 0),
  'probe.temperature': _within('()', 0),
}  # fmt: skip
# Of model.name, what a job of each mode may have.
_NETWORKS = {
  'pretrain': _one_of('selfie'),
  'finetune': _one_of('resnet50', 'resnet36_attention'),
}


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{'model.width': 64, ...}, tuples and lists as lists."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, (ml_collections.ConfigDict, dict)):
      flat |= {f'{name}.{k}': v for k, v in flatten(value).items()}
    else:
      flat[name] = list(value) if isinstance(value, (tuple, list)) else value
  return flat


def name_data(config: ml_collections.ConfigDict) -> str:
  """What the data set is called: one's own images by their folder or table."""
  own = pathlib.PurePath(config.dataset.path).name
  return own or config.dataset.name


def rule(field: str, mode: str) -> Rule:
  """The rule of a field, such as 'model.width', in a job of this mode.

  Rules between fields are not in it; `check` knows them.
  """
  if field == 'model.name':
    return _NETWORKS.get(mode, FIELDS[field])
  return FIELDS.get(field, _ANY)


def check(config: ml_collections.ConfigDict, num_devices: int) -> None:
  """Raises UserError for a value that cannot work, before anything is built."""
  for field, value in flatten(config).items():
    if isinstance(value, list) and not all(
      isinstance(number, (int, float)) for number in value
    ):
      errors.invalid_value(field, tuple(value), 'numbers with commas between')
    wanted = rule(field, config.mode)
    if not wanted.holds(value):
      errors.invalid_value(field, value, wanted.valid)
  _check_dataset(config)
  for field in ('batch_size', 'eval_batch_size'):
    if field in config and config[field] % num_devices:
      below = config[field] // num_devices * num_devices or num_devices
      errors.invalid_value(
        field,
        config[field],
        f'a multiple of the {num_devices} devices, such as {below}',
      )
  if config.mode == 'probe':
    _check_probe(config)
  else:
    _check_training(config)


def _check_dataset(config: ml_collections.ConfigDict) -> None:
  is_folder = config.dataset.name == 'folder'
  if is_folder != bool(config.dataset.path):
    errors.invalid_value(
      'dataset.path',
      config.dataset.path,
      'a folder of images or a .csv file with --config.dataset.name=folder, '
      "and '' with all others",
    )
  if is_folder and config.dataset.shuffle_block > 1:
    errors.invalid_value(
      'dataset.shuffle_block',
      config.dataset.shuffle_block,
      '1 with --config.dataset.name=folder, where neighbours are of one class',
    )


def _check_probe(config: ml_collections.ConfigDict) -> None:
  """The rules that only probes have."""
  if not config.init_from:
    errors.invalid_value(
      'init_from', '', 'the folder of a run, such as runs/cifar_pretrain'
    )
  steps = tuple(config.init_steps)
  if len(set(steps)) < len(steps) or any(step < 1 for step in steps):
    errors.invalid_value(
      'init_steps', steps, 'steps of the run, each above 0 and once'
    )
  if not config.validation_fraction:
    errors.invalid_value(
      'validation_fraction', 0, 'above 0: C is chosen on these images'
    )
  strengths = tuple(config.probe.strengths)
  if not strengths or min(strengths) <= 0:
    errors.invalid_value(
      'probe.strengths', strengths, 'one number or more, each above 0'
    )


def _check_training(config: ml_collections.ConfigDict) -> None:
  """The rules between the fields of pretraining and finetuning."""
  if config.optimizer.warmup_steps >= config.total_steps:
    errors.invalid_value(
      'optimizer.warmup_steps',
      config.optimizer.warmup_steps,
      f'less than total_steps={config.total_steps}',
    )
  if (
    config.augment.border == 'reflect'
    and config.augment.padding >= config.image_size
  ):
    errors.invalid_value(
      'augment.padding',
      config.augment.padding,
      f'below image_size={config.image_size} with augment.border=reflect',
    )
  for field in ('mean', 'std'):
    values = tuple(config.normalise[field])
    are_finite = all(map(math.isfinite, values))
    is_zero = field == 'std' and any(value <= 0 for value in values)
    if len(values) != 3 or not are_finite or is_zero:
      above = ' above 0' if field == 'std' else ''
      errors.invalid_value(
        f'normalise.{field}', values, f'three numbers{above}'
      )
  grid = patches.grid_size(config.image_size, config.patch_size)
  if config.mode == 'pretrain':
    patches.num_targets(grid**2, config.masked_fraction)
  depths = tuple(config.model.depths)
  if len(depths) != 4 or any(type(n) is not int or n < 1 for n in depths):
    errors.invalid_value(
      'model.depths', depths, 'four whole numbers of at least 1'
    )
  dim, heads = config.model.width * 16, config.model.attention.num_heads
  if dim % heads:
    errors.invalid_value(
      'model.attention.num_heads',
      heads,
      f'a divisor of the {dim} channels (16 * model.width)',
    )

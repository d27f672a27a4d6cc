"""What a valid job is: which values its fields may have.

configs/common.py says what the fields mean.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import math
import pathlib
from typing import Any

from flax import traverse_util
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


def _are_three(values: list[float]) -> bool:
  return len(values) == 3 and all(map(math.isfinite, values))


_ANY = Rule('', lambda value: True)
_COUNT = Rule('a whole number of at least 1', lambda value: value >= 1)

# Every field of every job.
FIELDS: dict[str, Rule] = {
  **dict.fromkeys((
    'init_from', 'dataset.name', 'dataset.path', 'dataset.data_dir',
    'dataset.download', 'dataset.train_split', 'dataset.test_split',
    'augment.flip', 'model.closing_norm', 'model.sync_batch_norm',
    'model.context_positions', 'optimizer.nesterov',
    'optimizer.decay_norms_and_biases', 'probe.features',
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
  'probe.strengths': Rule(
    'one number or more, each above 0, none infinite',
    lambda v: len(v) > 0 and min(v) > 0 and max(v) < math.inf,
  ),
  'init_steps': Rule(
    'steps of the run, each above 0 and once',
    lambda v: (
      len(set(v)) == len(v) and all(type(n) is int and n >= 1 for n in v)
    ),
  ),
  'normalise.mean': Rule('three numbers', _are_three),
  'normalise.std': Rule(
    'three numbers above 0', lambda v: _are_three(v) and min(v) > 0
  ),
  'model.depths': Rule(
    'four whole numbers of at least 1',
    lambda v: len(v) == 4 and all(type(n) is int and n >= 1 for n in v),
  ),
}  # fmt: skip
# In the place of these, in jobs of one mode.
_OF_MODE = {
  'pretrain': {'model.name': _one_of('selfie')},
  'finetune': {'model.name': _one_of('resnet50', 'resnet36_attention')},
  'probe': {
    'init_from': Rule('the folder of a run, such as runs/cifar_pretrain', bool),
    'validation_fraction': Rule(
      'in (0, 1): C is chosen on these images', lambda value: 0 < value < 1
    ),
  },
}


def flatten(config: ml_collections.ConfigDict | dict) -> dict[str, Any]:
  """{'model.width': 64, ...}, tuples and lists as lists."""
  tree = config if isinstance(config, dict) else config.to_dict()
  flat = traverse_util.flatten_dict(tree, sep='.')
  return {k: list(v) if isinstance(v, tuple) else v for k, v in flat.items()}


def name_data(config: ml_collections.ConfigDict | dict) -> str:
  """What the data set is called: one's own images by their folder or table.

  With the part of it that is trained on, such as 'cifar10 train[:10%]'.
  """
  flat = flatten(config)
  name = pathlib.PurePath(flat['dataset.path']).name or flat['dataset.name']
  split = flat['dataset.train_split']
  return f'{name} {split}' if {'[', '+'} & {*split} else name


def rule(field: str, mode: str) -> Rule:
  """The rule of a field, such as 'model.width', in a job of this mode.

  Rules between fields are not in it; `check` knows them.
  """
  return _OF_MODE.get(mode, {}).get(field) or FIELDS.get(field, _ANY)


def check(config: ml_collections.ConfigDict, num_devices: int) -> None:
  """Raises UserError for a value that cannot work, before anything is built."""
  flat = flatten(config)
  for field, holds, valid in _apply_rules(config, flat, num_devices):
    if not holds:
      value = flat[field]
      shown = tuple(value) if isinstance(value, list) else value
      errors.invalid_value(field, shown, valid)


def _apply_rules(
  config: ml_collections.ConfigDict, flat: dict[str, Any], num_devices: int
) -> Iterator[tuple[str, bool, str]]:
  """Each time a field, whether a rule of it holds, and what is valid."""
  for field, value in flat.items():
    if isinstance(value, list):
      are_numbers = all(isinstance(each, (int, float)) for each in value)
      yield field, are_numbers, 'numbers with commas between'
    wanted = rule(field, config.mode)
    yield field, wanted.holds(value), wanted.valid

  # From here on the rules between fields.
  is_folder = config.dataset.name == 'folder'
  valid = (
    'a folder of images or a .csv file with --config.dataset.name=folder, '
    "and '' with all others"
  )
  yield 'dataset.path', is_folder == bool(config.dataset.path), valid
  valid = (
    '1 with --config.dataset.name=folder, where neighbours are of one class'
  )
  is_in_order = config.dataset.shuffle_block == 1
  yield 'dataset.shuffle_block', not is_folder or is_in_order, valid
  for field in ('batch_size', 'eval_batch_size'):
    if field in config:
      below = config[field] // num_devices * num_devices or num_devices
      valid = f'a multiple of the {num_devices} devices, such as {below}'
      yield field, config[field] % num_devices == 0, valid
  if config.mode == 'probe':
    return
  warmup, steps = config.optimizer.warmup_steps, config.total_steps
  valid = f'less than total_steps={steps}'
  yield 'optimizer.warmup_steps', warmup < steps, valid
  kernel, stride, padding = resnet.STEMS[config.model.stem]
  field = 'image_size' if config.model.name == 'resnet50' else 'patch_size'
  is_seen = config[field] + 2 * padding >= kernel
  yield field, is_seen, f'at least {kernel} with model.stem={config.model.stem}'
  side, augment = config.image_size, config.augment
  is_mirrored = augment.border == 'reflect'
  valid = f'below image_size={side} with augment.border=reflect'
  yield 'augment.padding', not is_mirrored or augment.padding < side, valid
  grid = patches.grid_size(side, config.patch_size)
  # Without padding the rest of it would not be seen.
  is_seen = padding > 0 or config[field] % stride == 0
  valid = f'a multiple of {stride} with model.stem={config.model.stem}'
  yield field, is_seen, valid
  if config.mode == 'pretrain':
    patches.num_targets(grid**2, config.masked_fraction)
  dim, heads = config.model.width * 16, config.model.attention.num_heads
  valid = f'a divisor of the {dim} channels (16 * model.width)'
  yield 'model.attention.num_heads', dim % heads == 0, valid

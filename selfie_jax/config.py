"""What a valid job is, and how two jobs differ.

Which fields there are and what they mean is said in configs/common.py.
"""

from collections.abc import Sequence
import math
import pathlib
from typing import Any

import ml_collections

from selfie_jax import errors
from selfie_jax.models import attention_pooling
from selfie_jax.models import build
from selfie_jax.models import resnet
from selfie_jax.models import selfie

MODES = ('pretrain', 'finetune', 'probe')

# The fields that a run may change when it is started again; all others decide
# what its numbers are.
RUNTIME_FIELDS = (
  'log_every', 'eval_every', 'checkpoint_every', 'keep_checkpoints',
  'profile_steps', 'eval_batch_size', 'dataset.data_dir', 'dataset.path',
  'dataset.download', 'dataset.cache_gib', 'dataset.read_ahead',
  'dataset.max_unreadable', 'knn.every', 'knn.images', 'knn.neighbours',
  'knn.temperature',
)  # fmt: skip

# Fields that came later, with the value that does what runs did before.
ADDED: dict[str, Any] = {
  'profile_steps': 0,
  'puzzle.query': 'sum',
  'puzzle.gap': 0,
  'puzzle.colour_factor': 0.0,
  'puzzle.colour_shift': 0.0,
  'puzzle.greyscale': 0.0,
  'puzzle.group': 1,
  'dataset.read_ahead': 4096,
  'dataset.shuffle_block': 1,
  'probe.features': '',
}

_CHOICES = {
  'mode': MODES,
  'dtype': ('float32', 'bfloat16'),
  'model.name': {
    'pretrain': ('selfie',),
    'finetune': ('resnet50', 'resnet36_attention'),
  },
  'model.stem': tuple(resnet.STEMS),
  'model.positions': attention_pooling.POSITIONS,
  'model.logit_scale': selfie.LOGIT_SCALES,
  'puzzle.query': selfie.QUERIES,
  'augment.crop': ('pad', 'random_resized', 'none'),
  'augment.border': ('zero', 'reflect'),
}
_AT_LEAST_ONE = (
  'batch_size', 'total_steps', 'image_size', 'patch_size', 'eval_batch_size',
  'log_every', 'eval_every', 'checkpoint_every', 'keep_checkpoints',
  'dataset.read_ahead', 'dataset.shuffle_block', 'model.width',
  'model.attention.num_layers', 'model.attention.num_heads',
  'model.attention.hidden', 'puzzle.group', 'knn.neighbours', 'probe.max_iter',
  'probe.neighbours',
)  # fmt: skip
# field: lowest, highest, whether the lowest and the highest are themselves in
_RANGES = {
  'label_fraction': (0, 1, False, True),
  'validation_fraction': (0, 1, True, False),
  'masked_fraction': (0, 1, False, False),
  'seed': (0, 2**32, True, False),
  'model.norm_momentum': (0, 1, True, False),
  'model.attention.dropout': (0, 1, True, False),
  'optimizer.learning_rate': (0, float('inf'), False, False),
  'optimizer.momentum': (0, 1, True, False),
  'optimizer.weight_decay': (0, float('inf'), True, False),
  'optimizer.warmup_steps': (0, float('inf'), True, False),
  'augment.padding': (0, float('inf'), True, False),
  'augment.min_area': (0, 1, False, True),
  'dataset.max_unreadable': (0, 1, True, True),
  'dataset.cache_gib': (0, float('inf'), True, False),
  'profile_steps': (0, float('inf'), True, False),
  'puzzle.gap': (0, float('inf'), True, False),
  'puzzle.colour_factor': (0, 1, True, True),
  'puzzle.colour_shift': (0, 1, True, True),
  'puzzle.greyscale': (0, 1, True, True),
  'knn.every': (0, float('inf'), True, False),
  'knn.images': (5, float('inf'), True, False),
  'knn.temperature': (0, float('inf'), False, False),
  'probe.temperature': (0, float('inf'), False, False),
}


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{'model.width': 64, ...}, tuples and lists as lists."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat |= {f'{name}.{k}': v for k, v in flatten(value).items()}
    else:
      flat[name] = list(value) if isinstance(value, (tuple, list)) else value
  return flat


def name_data(config: ml_collections.ConfigDict) -> str:
  """What the data set is called: one's own images by their folder or table."""
  own = pathlib.PurePath(config.dataset.path).name
  return own or config.dataset.name


def expected(field: str, value: Any, mode: str) -> str:
  """Which values a field may have, in words; '' if this is one of them.

  Rules between fields are not in it; `check` knows them.

  Args:
    field: a name as `flatten` gives it, such as 'model.width'.
    value: any of the field's type; NaN is none of the valid ones.
    mode: one of MODES; a choice may depend on it.
  """
  if field in _CHOICES:
    choices = _CHOICES[field]
    valid = choices[mode] if isinstance(choices, dict) else choices
    return '' if value in valid else 'one of ' + ', '.join(valid)
  if field in _AT_LEAST_ONE:
    return '' if value >= 1 else 'a whole number of at least 1'
  if field in _RANGES:
    low, high, low_in, high_in = _RANGES[field]
    is_end = (low_in and value == low) or (high_in and value == high)
    if not is_end and not low < value < high:
      return (
        f'in {"[" if low_in else "("}{low}, {high}{"]" if high_in else ")"}'
      )
  return ''


def check(config: ml_collections.ConfigDict, num_devices: int) -> None:
  """Raises UserError for a value that cannot work, before anything is built."""
  for field, value in flatten(config).items():
    if isinstance(value, list) and not all(
      isinstance(number, (int, float)) for number in value
    ):
      errors.refuse(field, tuple(value), 'numbers with commas between')
    if valid := expected(field, value, config.mode):
      errors.refuse(field, value, valid)
  if (config.dataset.name == 'folder') != bool(config.dataset.path):
    errors.refuse(
      'dataset.path',
      config.dataset.path,
      'a folder of images or a .csv file with --config.dataset.name=folder, '
      "and '' with all others",
    )
  if config.dataset.name == 'folder' and config.dataset.shuffle_block > 1:
    errors.refuse(
      'dataset.shuffle_block',
      config.dataset.shuffle_block,
      '1 with --config.dataset.name=folder, where neighbours are of one class',
    )
  for field in ('batch_size', 'eval_batch_size'):
    if field in config and config[field] % num_devices:
      below = config[field] // num_devices * num_devices or num_devices
      errors.refuse(
        field,
        config[field],
        f'a multiple of the {num_devices} devices, such as {below}',
      )
  if config.mode == 'probe':
    _check_probe(config)
  else:
    _check_training(config, num_devices)


def differences(
  old: dict[str, Any], new: dict[str, Any], but: Sequence[str] = ()
) -> dict[str, tuple[Any, Any]]:
  """{field: (old, new value)} where two flat configs make other numbers.

  Fields that a saved config has and jobs have no longer do not count; one that
  it lacks counts as what ADDED says.

  Args:
    old: of a saved config, see `flatten`.
    new: of a job.
    but: fields that do not count either, beside RUNTIME_FIELDS.
  """
  absent = 'not there'
  return {
    field: (before, new[field])
    for field in sorted(new.keys() - {*RUNTIME_FIELDS, *but})
    if (before := old.get(field, ADDED.get(field, absent))) != new[field]
  }


def _check_probe(config: ml_collections.ConfigDict) -> None:
  """The rules that only probes have."""
  if not config.init_from:
    errors.refuse(
      'init_from', '', 'the folder of a run, such as runs/cifar_pretrain'
    )
  steps = tuple(config.init_steps)
  if len(set(steps)) < len(steps) or any(step < 1 for step in steps):
    errors.refuse(
      'init_steps', steps, 'steps of the run, each above 0 and once'
    )
  if not config.validation_fraction:
    errors.refuse(
      'validation_fraction', 0, 'above 0: C is chosen on these images'
    )
  strengths = tuple(config.probe.strengths)
  if not strengths or min(strengths) <= 0:
    errors.refuse(
      'probe.strengths', strengths, 'one number or more, each above 0'
    )


def _check_training(
  config: ml_collections.ConfigDict, num_devices: int
) -> None:
  """The rules between the fields of pretraining and finetuning."""
  if config.optimizer.warmup_steps >= config.total_steps:
    errors.refuse(
      'optimizer.warmup_steps',
      config.optimizer.warmup_steps,
      f'less than total_steps={config.total_steps}',
    )
  if (
    config.augment.border == 'reflect'
    and config.augment.padding >= config.image_size
  ):
    errors.refuse(
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
      errors.refuse(f'normalise.{field}', values, f'three numbers{above}')
  build.check(config)
  if config.mode == 'pretrain':
    build.check_puzzle(config, config.batch_size // num_devices)

"""Pretrained weights into a finetuning network: a copy of what they share."""

import logging
from typing import Any

import jax
import ml_collections

from selfie_jax import errors
from selfie_jax.tasks import train_state

logger = logging.getLogger(__name__)

# What no pretraining run has; all other parts are shared by name.
NEW_PARTS = ('block4', 'block4_norm', 'head')
# What a file in timm's format may lack too.
NOT_IN_FILES = ('block3_norm', 'attention_pooling', 'positions')


def copy_pretrained(
  pretrained: dict[str, Any],
  state: train_state.TrainState,
  config: ml_collections.ConfigDict,
) -> train_state.TrainState:
  """The state with all parts that both networks have from `pretrained`.

  Args:
    pretrained: 'params' and 'batch_stats' of config.init_from, a pretraining
      run or a file in timm's format.
    state: of the finetuning network.
    config: the finetuning job.

  Raises:
    UserError: a part that should be there is missing or of another shape.
  """
  source = _flatten_patch_network(pretrained['params'])
  stats = _flatten_patch_network(pretrained['batch_stats'])
  state = state.replace(
    params=_copy_shared(source, state.params, config),
    batch_stats=_copy_shared(stats, state.batch_stats, config),
  )
  for what, names in (
    (f'Loaded from {config.init_from}', state.params.keys() & source.keys()),
    ('New', state.params.keys() - source.keys()),
    (f'Not used by {config.model.name}', source.keys() - state.params.keys()),
  ):
    logger.info('%s: %s', what, ', '.join(sorted(names)) or 'nothing')
  return state


def _flatten_patch_network(tree: dict[str, Any]) -> dict[str, Any]:
  """Names of the pretraining model as the classifiers have them."""
  rest = {k: v for k, v in tree.items() if k != 'patch_network'}
  return tree.get('patch_network', {}) | rest


def _copy_shared(
  source: dict[str, Any],
  target: dict[str, Any],
  config: ml_collections.ConfigDict,
) -> dict[str, Any]:
  """`target` with the parts that `source` has too."""
  is_file = config.init_from.endswith('.safetensors')
  may_be_new = NEW_PARTS + (NOT_IN_FILES if is_file else ())
  expected = {
    k: v for k, v in target.items() if k in source or k not in may_be_new
  }
  given = {k: v for k, v in source.items() if k in expected}
  shapes, wanted = _shapes(given), _shapes(expected)
  wrong = [
    f'{name} is {shapes.get(name, "missing")}, '
    f'the model has {wanted.get(name, "none")}'
    for name in sorted(shapes.keys() | wanted.keys())
    if shapes.get(name) != wanted.get(name)
  ]
  if wrong:
    raise errors.UserError(
      f'init_from={config.init_from} does not fit the model: '
      + '; '.join(wrong[:3])
      + (f' and {len(wrong) - 3} more' if wrong[3:] else '')
    )
  return target | given


def _shapes(tree: dict[str, Any]) -> dict[str, tuple[int, ...]]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }

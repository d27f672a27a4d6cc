"""Our weights under the names of timm's `resnetv2_50`, and the way back.

timm's network (its BatchNorm variant of a pre-activation ResNet) has the same
layers, paddings, strides and epsilon, so only names and layouts differ:
kernels are [out, in, height, width] there and [height, width, in, out] here.
"""

import re
from typing import Any

from flax import traverse_util
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from selfie_jax import errors

_NORM = {
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}
_NORM_BACK = {theirs: ours for ours, theirs in _NORM.items()}


def to_timm(
  params: dict[str, Any], batch_stats: dict[str, Any]
) -> dict[str, np.ndarray]:
  """What PyTorch calls a state dict.

  Args:
    params: of a network with stem, blocks, the last block's norm (or none) and
      a head (or none), and of nothing else.
    batch_stats: BatchNorm's running statistics, of the same network.

  Returns:
    float32 arrays by timm's names, and a counter for each BatchNorm.
  """
  tensors = {}
  for tree in (params, batch_stats):
    for path, value in traverse_util.flatten_dict(tree).items():
      value = np.asarray(value)
      if path[0] == 'head' and path[-1] == 'kernel':
        value = value.T[:, :, None, None]  # timm's head is a 1x1 convolution
      elif path[-1] == 'kernel':
        value = value.transpose(3, 2, 0, 1)
      tensors[_name(path)] = np.ascontiguousarray(value)
  counters = [
    name.replace('running_mean', 'num_batches_tracked')
    for name in tensors
    if name.endswith('running_mean')
  ]
  return tensors | {name: np.zeros((), np.int64) for name in counters}


def write(
  path: str, params: dict[str, Any], batch_stats: dict[str, Any]
) -> None:
  """Writes a .safetensors file; arguments as in `to_timm`."""
  safetensors_numpy.save_file(
    to_timm(params, batch_stats), path, metadata={'format': 'pt'}
  )


def read(path: str) -> dict[str, dict[str, Any]]:
  """Reads what `write`, or timm, wrote, without the head.

  Returns:
    {'params': ..., 'batch_stats': ...}, float32.

  Raises:
    UserError: there is no such file, or it holds no such network; or its
      numbers cannot be used.
  """
  try:
    tensors = safetensors_numpy.load_file(path)
  # A data type that numpy lacks is an AttributeError.
  except (
    OSError,
    KeyError,
    AttributeError,
    safetensors.SafetensorError,
  ) as error:
    raise errors.UserError(
      f'{path} cannot be read as safetensors ({error}); give a file that '
      "timm or selfie_jax.export --format=timm wrote from a 'resnetv2_50'"
    ) from error
  try:
    weights = _from_timm(tensors)
  except errors.UserError as error:
    raise errors.UserError(f'{path} does not fit: {error}') from error
  if not weights['batch_stats']:
    raise errors.UserError(
      f'{path} has no BatchNorm statistics (timm has networks of these names '
      "with GroupNorm too); give the weights of a 'resnetv2_50'"
    )
  return weights


def _from_timm(tensors: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
  """The inverse of `to_timm`, without the head; UserError says what is wrong.

  The norm after the blocks, of which there are three or more, gets the last
  one's name.
  """
  blocks = [int(n.split('.')[1]) + 1 for n in tensors if n.startswith('stages')]
  flat = {'params': {}, 'batch_stats': {}}
  for name, value in tensors.items():
    if name.startswith('head.') or name.endswith('.num_batches_tracked'):
      continue
    path = _path(name, max(blocks, default=0))
    value = np.asarray(value, np.float32)
    wrong = 'NaN or infinite' if not np.isfinite(value).all() else ''
    if path[-1] == 'var' and (value < 0).any():
      wrong = 'negative'
    if wrong:
      raise errors.UserError(
        f'{name} has {wrong} values; give weights of a training that converged'
      )
    if path[-1] == 'kernel':
      value = value.transpose(2, 3, 1, 0)
    kind = 'batch_stats' if path[-1] in ('mean', 'var') else 'params'
    flat[kind][path] = value
  return {k: traverse_util.unflatten_dict(v) for k, v in flat.items()}


def _name(path: tuple[str, ...]) -> str:
  """'stages.0.blocks.1.conv3.weight' of block1/unit2/conv3/kernel."""
  first, *rest, leaf = path
  if first == 'head':
    return f'head.fc.{"weight" if leaf == "kernel" else leaf}'
  leaf = 'weight' if leaf == 'kernel' else _NORM[leaf]
  if first == 'stem':
    return f'stem.conv.{leaf}'
  if first.endswith('_norm'):
    return f'norm.{leaf}'
  unit, layer = rest
  layer = 'downsample.conv' if layer == 'shortcut' else layer
  stage, number = int(first[len('block') :]), int(unit[len('unit') :])
  return f'stages.{stage - 1}.blocks.{number - 1}.{layer}.{leaf}'


def _path(name: str, blocks: int) -> tuple[str, ...]:
  """The inverse of `_name`, for a network of so many blocks."""
  if name == 'stem.conv.weight':
    return 'stem', 'conv', 'kernel'
  norm = re.fullmatch(r'norm\.(\w+)', name)
  if norm and norm[1] in _NORM_BACK:
    return f'block{blocks}_norm', _NORM_BACK[norm[1]]
  inner = re.fullmatch(
    r'stages\.(\d+)\.blocks\.(\d+)\.'
    r'(norm\d|conv\d|downsample\.conv)\.(\w+)',
    name,
  )
  if inner:
    place = f'block{int(inner[1]) + 1}', f'unit{int(inner[2]) + 1}'
    if inner[3].startswith('norm') and inner[4] in _NORM_BACK:
      return *place, inner[3], _NORM_BACK[inner[4]]
    if not inner[3].startswith('norm') and inner[4] == 'weight':
      layer = inner[3].replace('downsample.conv', 'shortcut')
      return *place, layer, 'kernel'
  raise errors.UserError(
    f"{name!r} is no name of timm's resnetv2_50; give the weights of one"
  )

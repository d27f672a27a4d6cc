"""Weights under timm's names: as timm has them, to and fro."""

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
import small_jobs

from configs import imagenet_finetune
from configs import imagenet_pretrain
from selfie_jax import errors
from selfie_jax.storage import timm_weights
from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain


def norm(name, channels):
  names = ('weight', 'bias', 'running_mean', 'running_var')
  counter = {f'{name}.num_batches_tracked': []}
  return {f'{name}.{kind}': [channels] for kind in names} | counter


def timm_shapes(classes, stages=4):
  """Of create_model('resnetv2_50', num_classes=classes), or its beginning."""
  found, given = {'stem.conv.weight': [64, 3, 7, 7]}, 64
  for i, units in enumerate((3, 4, 6, 3)[:stages]):
    width = 64 * 2**i
    for j in range(units):
      unit = f'stages.{i}.blocks.{j}'
      if j == 0:
        shape = [4 * width, given, 1, 1]
        found[f'{unit}.downsample.conv.weight'] = shape
      layers = (given, width, 1), (width, width, 3), (width, 4 * width, 1)
      for k, (before, after, size) in enumerate(layers, start=1):
        found |= norm(f'{unit}.norm{k}', before)
        found[f'{unit}.conv{k}.weight'] = [after, before, size, size]
      given = 4 * width
  found |= norm('norm', given)
  if classes:
    found['head.fc.weight'] = [classes, given, 1, 1]
    found['head.fc.bias'] = [classes]
  return found


def weights_as_zeros(task, config):
  """A network's weights by our names, without the time to make them."""
  state = jax.eval_shape(lambda: task.create_state(config, 10))
  trees = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), (state.params, state.batch_stats)
  )
  return [tree.get('patch_network', tree) for tree in trees]


def shapes(tensors):
  return {name: list(value.shape) for name, value in tensors.items()}


@pytest.mark.parametrize(
  'task, job, expected',
  [
    (finetune, imagenet_finetune, timm_shapes(10)),
    (pretrain, imagenet_pretrain, timm_shapes(0, stages=3)),
  ],
)
def test_networks_have_the_names_and_shapes_of_timms(task, job, expected):
  """A classifier all of them, P those of the first three stages."""
  tensors = timm_weights.to_timm(*weights_as_zeros(task, job.get_config()))
  assert shapes(tensors) == expected
  assert all(value.flags.c_contiguous for value in tensors.values())


def test_kernels_change_their_layout(finetune_config):
  state = small_jobs.start_finetuning(finetune_config, 7)
  tensors = timm_weights.to_timm(state.params, state.batch_stats)
  block = state.params['block2']['unit1']
  np.testing.assert_array_equal(
    tensors['stages.1.blocks.0.conv2.weight'][5, 3, 0, 2],
    block['conv2']['kernel'][0, 2, 3, 5],
  )
  np.testing.assert_array_equal(
    tensors['head.fc.weight'][:, :, 0, 0].T, state.params['head']['kernel']
  )


def test_files_that_do_not_fit_are_refused(finetune_config, tmp_path):
  def refused(says, tensors=None):
    path = tmp_path / 'some.safetensors'
    if tensors is not None:
      safetensors_numpy.save_file(tensors, str(path))
    finetune_config.init_from = str(path)
    with pytest.raises(errors.UserError, match=says):
      small_jobs.start_finetuning(finetune_config, 10)

  refused('cannot be read as safetensors')
  # A data type that numpy lacks, behind the length of the header.
  header = b'{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
  content = len(header).to_bytes(8, 'little') + header + b'0'
  (tmp_path / 'some.safetensors').write_bytes(content)
  refused('cannot be read as safetensors')
  finetune_config.init_from = ''
  state = small_jobs.start_finetuning(finetune_config, 10)
  tensors = timm_weights.to_timm(state.params, state.batch_stats)
  refused(
    "'layer1.conv1.weight' is no name", {'layer1.conv1.weight': np.ones(1)}
  )
  without = {k: v for k, v in tensors.items() if 'running' not in k}
  refused('no BatchNorm statistics.*resnetv2_50', without)
  without = {k: v for k, v in tensors.items() if 'stages.1.blocks.0' not in k}
  refused('block2/.* is missing', without)
  for number, name, says in [
    (np.nan, 'stem.conv.weight', 'has NaN or infinite'),
    (np.inf, 'norm.bias', 'has NaN or infinite'),
    (-1, 'norm.running_var', 'has negative'),
  ]:
    changed = {name: np.array(tensors[name])}
    changed[name].flat[-1] = number
    refused(f'some.safetensors does not fit: {name} {says}', tensors | changed)
  stem = {'stem.conv.weight': np.zeros((4, 3, 7, 7), np.float32)}
  refused(r'stem/conv/kernel is \(7, 7, 3, 4\), the model has', tensors | stem)

"""The finetuning task: what is taken from a pretraining run, and its steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_jobs

from configs import cifar_finetune
from configs import digits_finetune
from selfie_jax.data import batches as batches_lib
from selfie_jax.models import build
from selfie_jax.tasks import finetune

MODELS = ('resnet50', 'resnet36_attention')


@functools.cache
def start(name):
  """The tiny job with this network and its state; neither may be changed."""
  config = digits_finetune.get_config('tiny')
  config.model.name = name
  config.model.context_positions = True
  return config, finetune.create_state(config, 10)


@pytest.mark.parametrize(
  'name, count', [('resnet50', 23_513_162), ('resnet36_attention', 25_087_946)]
)
def test_paper_size_is_about_25_million(name, count):
  config = cifar_finetune.get_config()
  config.model.name = name
  state = jax.eval_shape(lambda: finetune.create_state(config, 10))
  assert sum(x.size for x in jax.tree.leaves(state.params)) == count


def test_two_devices_give_the_losses_of_one(batch):
  config, state = start('resnet36_attention')  # blocks 1 to 3 are resnet50's
  losses = {}
  for devices in (1, 2):
    step = small_jobs.compile_step(finetune.train_step, config, devices)
    current, losses[devices] = state, []
    for _ in range(3):
      current, metrics = step(current, batches_lib.shard(batch, devices))
      losses[devices].append([metrics['loss'], metrics['gradient_norm']])
  np.testing.assert_allclose(losses[1], losses[2], rtol=2e-3)


def test_padding_counts_for_nothing(batch):
  config, state = start('resnet50')
  step = small_jobs.compile_step(finetune.eval_step, config, 2)
  batch['mask'][10:] = 0
  some = step(state, batches_lib.shard(batch, 2))
  batch['image'][10:] = 0
  batch['label'][10:] = 3
  again = step(state, batches_lib.shard(batch, 2))
  assert some['count'] == 10
  assert some['loss'] == again['loss'] > 0


@pytest.mark.parametrize('size, patch', [(32, 8), (64, 16)])
def test_patch_positions_lie_over_the_feature_map(finetune_config, size, patch):
  """Each place of the map gets the position of the patch that covers it."""
  finetune_config.model.name = 'resnet36_attention'
  finetune_config.model.context_positions = True
  finetune_config.image_size = size
  finetune_config.patch_size = patch
  model = build.classifier(finetune_config, 10)
  images = jnp.zeros((1, size, size, 3))
  run = jax.jit(functools.partial(model.init_with_output, train=False))
  before, variables = run(jax.random.key(0), images)
  places = variables['params']['positions']['places']
  assert places.shape == (16, 64)
  variables['params']['positions']['places'] = places + jnp.arange(64.0)
  after = jax.jit(functools.partial(model.apply, train=False))(
    variables, images
  )
  assert not np.allclose(before, after)


@pytest.mark.parametrize('name', MODELS)
def test_bfloat16_logits_are_near_float32_logits(batch, name):
  config, state = start(name)
  config = config.copy_and_resolve_references()
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  logits = {}
  for dtype in ('float32', 'bfloat16'):
    config.dtype = dtype
    model = build.classifier(config, 10)
    images = build.normalise(batch['image'], config)
    assert images.dtype == dtype
    apply = jax.jit(functools.partial(model.apply, train=False))
    logits[dtype] = apply(variables, images)
    assert logits[dtype].dtype == jnp.float32
  np.testing.assert_allclose(
    logits['bfloat16'], logits['float32'], atol=0.05, rtol=0.1
  )

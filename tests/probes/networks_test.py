"""What a trained network is compared with."""

import functools

import jax
import numpy as np

from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.probes import networks as networks_lib
from selfie_jax.tasks import pretrain


def test_random_network_has_the_statistics_of_patches(finished):
  """Whatever passes the first norm has mean 0 and deviation 1 over patches."""
  trained = model_lib.load(finished('pretrain'))
  source = batches_lib.open_source(trained.config, 'train')
  images = next(source.eval_images([np.arange(256)]))
  model = networks_lib.initial(trained, images)
  config = trained.config
  params = pretrain.create_state(config, 0).params
  jax.tree.map(np.testing.assert_array_equal, params, model.variables['params'])

  x = patches.extract(build.normalise(images, config), config.patch_size)
  network = build.patch_network(config)
  given_out = ('norm2', 'norm3', 'block3_norm')  # norm1 hands out its products
  apply = functools.partial(
    network.apply,
    train=False,
    capture_intermediates=lambda module, _: module.name in given_out,
    mutable='intermediates',
  )
  variables = {k: v['patch_network'] for k, v in model.variables.items()}
  _, seen = jax.jit(apply)(variables, x.reshape((-1,) + x.shape[2:]))
  normed = jax.tree.leaves(seen)
  assert len(normed) == 7
  for values in normed:
    rows = np.asarray(values).reshape(-1, values.shape[-1])
    lively = rows.std(axis=0) > 0.5
    assert lively.mean() > 0.9
    assert np.abs(rows.mean(axis=0)).max() < 0.1
    np.testing.assert_allclose(rows.std(axis=0)[lively], 1, atol=0.2)


def test_large_images_are_made_small_for_their_pixels(pretrain_config):
  pretrain_config.image_size = 64
  pretrain_config.normalise.update(mean=(0.0,) * 3, std=(1.0,) * 3)
  images = np.zeros((2, 64, 64, 3), np.uint8)
  images[1] = 255
  values = networks_lib.pixels(pretrain_config, images)['pixels']
  assert values.shape == (2, 32 * 32 * 3)
  np.testing.assert_allclose(values, [[0] * 3072, [1] * 3072], rtol=1e-6)

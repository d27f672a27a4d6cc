"""The network of patches: its size, its grids and its end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import resnet


def shapes(model, shape):
  """Of the output and the variables."""
  init = functools.partial(model.init_with_output, train=False)
  return jax.eval_shape(init, jax.random.key(0), jnp.zeros(shape))


def test_patch_network_has_the_papers_size():
  out, variables = shapes(resnet.PatchNetwork(), (5, 8, 8, 3))
  assert out.shape == (5, 1024)
  leaves = jax.tree.leaves(variables['params'])
  assert sum(x.size for x in leaves) == 8_532_032


@pytest.mark.parametrize(
  'stem, size, side',
  [
    ('conv3', 8, 2),
    ('conv7_pool', 32, 2),
    ('conv7_pool', 224, 14),
    ('patch4', 32, 2),
    ('patch8', 32, 1),
  ],
)
def test_block3_grid(stem, size, side):
  model = resnet.ResNet(depths=(1, 1, 1), width=4, stem=stem)
  assert shapes(model, (1, size, size, 3))[0].shape == (1, side, side, 64)


def evaluate(model):
  return jax.jit(functools.partial(model.apply, train=False))


@pytest.fixture(scope='module')
def small():
  """Four patches, a small P, its variables and what it gives."""
  x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  p = resnet.PatchNetwork(depths=(1, 1, 1), width=4)
  init = jax.jit(functools.partial(p.init, train=False))
  variables = init(jax.random.key(0), x)
  return x, p, variables, evaluate(p)(variables, x)


def test_closing_norm_is_there_by_default_and_ends_in_a_relu(small):
  x, _, variables, out = small
  assert 'block3_norm' in variables['params']
  assert out.min() >= 0
  bare = resnet.PatchNetwork(depths=(1, 1, 1), width=4, closing_norm=False)
  assert 'block3_norm' not in shapes(bare, x.shape)[1]['params']
  assert evaluate(bare)(variables, x).min() < 0


def test_patches_do_not_see_each_other(small):
  x, p, variables, whole = small
  one = evaluate(p)(variables, x[2:3])
  np.testing.assert_allclose(whole[2:3], one, atol=1e-5)

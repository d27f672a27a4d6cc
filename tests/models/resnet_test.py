"""P and ResNet-50 have the paper's size and share weights by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax.models import classifier
from selfie_jax.models import resnet


def count(tree):
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def shapes(model, size):
  return jax.eval_shape(
    lambda: model.init(
      jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False
    )
  )


def test_patch_network_has_the_papers_size():
  assert count(shapes(resnet.PatchNetwork(), 8)['params']) == 8_532_032


def test_resnet50_trunk_has_the_papers_size():
  params = shapes(classifier.ResNet50(), 32)['params']
  assert count(params) - count(params['head']) == 23_492_672


def test_a_patch_becomes_one_vector_of_1024():
  model = resnet.PatchNetwork()
  out = jax.eval_shape(
    lambda: model.init_with_output(
      jax.random.key(0), jnp.zeros((5, 8, 8, 3)), train=False
    )[0]
  )
  assert out.shape == (5, 1024)


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
  out = jax.eval_shape(
    lambda: model.init_with_output(
      jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False
    )[0]
  )
  assert out.shape == (1, side, side, 64)


def perturbed(variables):
  """Variables with running statistics and scales that are not the initial."""
  keys = iter(jax.random.split(jax.random.key(7), 1000))
  return jax.tree.map(
    lambda x: x + 0.1 * jax.random.uniform(next(keys), x.shape), variables
  )


def test_p_gives_what_block3_of_resnet50_gives_from_the_same_weights():
  images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
  p = resnet.PatchNetwork(depths=(1, 1, 1), width=8, closing_norm=False)
  r = classifier.ResNet50(depths=(1, 1, 1, 1), width=8)
  pv = perturbed(p.init(jax.random.key(0), images, train=False))
  rv = r.init(jax.random.key(2), images, train=False)
  rv = {name: rv[name] | pv[name] for name in ('params', 'batch_stats')}

  _, captured = r.apply(
    rv,
    images,
    train=False,
    mutable=['intermediates'],
    capture_intermediates=lambda m, _: m.name == 'block3',
  )
  block3 = captured['intermediates']['block3']['__call__'][0]
  np.testing.assert_allclose(
    p.apply(pv, images, train=False), block3.mean(axis=(1, 2)), rtol=1e-5
  )
  assert block3.std() > 0.1


def test_closing_norm_is_there_by_default_and_ends_in_a_relu():
  images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  p = resnet.PatchNetwork(depths=(1, 1, 1), width=4)
  out, variables = p.init_with_output(jax.random.key(0), images, train=False)
  assert 'block3_norm' in variables['params']
  assert out.min() >= 0
  bare = resnet.PatchNetwork(depths=(1, 1, 1), width=4, closing_norm=False)
  out, variables = bare.init_with_output(jax.random.key(0), images, train=False)
  assert 'block3_norm' not in variables['params']
  assert out.min() < 0


def test_patches_do_not_see_each_other():
  x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  p = resnet.PatchNetwork(depths=(1, 1, 1), width=4)
  variables = p.init(jax.random.key(0), x, train=False)
  whole = p.apply(variables, x, train=False)
  one = p.apply(variables, x[2:3], train=False)
  np.testing.assert_allclose(whole[2:3], one, atol=1e-5)


def test_bfloat16_computes_in_bfloat16_with_float32_parameters():
  x = jnp.zeros((2, 8, 8, 3))
  p = resnet.PatchNetwork(depths=(1, 1, 1), width=4, dtype=jnp.bfloat16)
  out, variables = p.init_with_output(jax.random.key(0), x, train=False)
  assert out.dtype == jnp.bfloat16
  assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype('float32')}

"""The pretext task: what a query may see, and what logits mean."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits_pretrain
from selfie_jax.models import build
from selfie_jax.models import patches


@pytest.fixture(scope='module')
def puzzle():
  """Patches [2, 16, 8, 8, 3], context and targets of two images."""
  x = jax.random.normal(jax.random.key(0), (2, 16, 8, 8, 3))
  keys = jax.random.split(jax.random.key(1), 2)
  return (x, *jax.vmap(lambda k: patches.split(k, 16, 4))(keys))


def make(**fields):
  """The tiny network, `fields` of it changed, and its compiled evaluation."""
  config = digits_pretrain.get_config('tiny')
  config.model.update(fields)
  model = build.selfie(config)
  return model, jax.jit(functools.partial(model.apply, train=False))


@pytest.fixture(scope='module')
def variables(puzzle):
  """No field that is changed here changes the parameters."""
  init = functools.partial(make()[0].init, train=False)
  return jax.jit(init)(jax.random.key(2), *puzzle)


@pytest.fixture(scope='module')
def logits(puzzle, variables):
  return make(logit_scale='none')[1](variables, *puzzle)


def test_logit_is_query_times_patch_vector(puzzle, variables, logits):
  x, context, targets = puzzle

  @jax.jit
  def by_hand(variables):
    bound = make()[0].bind(variables)
    h = bound.patch_network(x[1], False)
    u = bound.attention_pooling(h[context[1]][None])[0]
    query = u + bound.positions(h.shape[-1])[targets[1, 2]]
    return query @ h[targets[1, 3]]

  assert logits.shape == (2, 4, 4) and logits.dtype == jnp.float32
  np.testing.assert_allclose(logits[1, 2, 3], by_hand(variables), rtol=1e-4)


def test_scaled_logits_are_smaller_by_root_of_dim(puzzle, variables, logits):
  model, apply = make(logit_scale='inverse_sqrt')
  dim = 16 * model.patch_network.width
  scaled = apply(variables, *puzzle)
  np.testing.assert_allclose(logits, scaled * dim**0.5, rtol=1e-5)


def test_targets_do_not_leak_into_the_query(puzzle, variables, logits):
  """Of logit [i, j], only patch j among the targets may have a gradient."""
  _, apply = make(context_positions=True, logit_scale='none')
  x, context, targets = puzzle

  @jax.jit
  def evaluate(x):
    def logit(x):
      y = apply(variables, x, context, targets)
      return y[0, 1, 2], y

    return jax.grad(logit, has_aux=True)(x)

  gradient, with_positions = evaluate(x)
  size = np.abs(gradient).sum(axis=(2, 3, 4))
  assert size[0, targets[0, 2]] > 0
  for other in (0, 1, 3):  # 1 is the right one
    assert size[0, targets[0, other]] == 0
  assert (size[0, context[0]] > 0).all()
  assert (size[1] == 0).all()  # nor another image's patches
  assert not np.allclose(logits, with_positions)  # they change the query

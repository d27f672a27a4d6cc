"""The pretext task: what a query may see, and what logits mean."""

import pkgutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax import models
from selfie_jax.models import build
from selfie_jax.models import patches


@pytest.fixture
def puzzle():
  """Patches [2, 16, 8, 8, 3], context and targets of two images."""
  x = jax.random.normal(jax.random.key(0), (2, 16, 8, 8, 3))
  keys = jax.random.split(jax.random.key(1), 2)
  return (x, *jax.vmap(lambda k: patches.split(k, 16, 4))(keys))


def make(config, puzzle):
  model = build.selfie(config)
  return model, model.init(jax.random.key(2), *puzzle, train=False)


def test_logits_are_raw_scores_not_probabilities(pretrain_config, puzzle):
  model, variables = make(pretrain_config, puzzle)
  logits = model.apply(variables, *puzzle, train=False)
  assert logits.shape == (2, 4, 4) and logits.dtype == jnp.float32
  assert not np.allclose(logits.sum(axis=-1), 1)


def test_logit_is_query_times_patch_vector(pretrain_config, puzzle):
  pretrain_config.model.logit_scale = 'none'
  model, variables = make(pretrain_config, puzzle)
  x, context, targets = puzzle
  logits = model.apply(variables, *puzzle, train=False)

  bound = model.bind(variables)
  h = bound.patch_network(x[1], False)
  u = bound.attention_pooling(h[context[1]][None])[0]
  query = u + bound.positions(h.shape[-1])[targets[1, 2]]
  np.testing.assert_allclose(
    logits[1, 2, 3], query @ h[targets[1, 3]], rtol=1e-4
  )


def test_scaled_logits_are_smaller_by_the_root_of_dim(pretrain_config, puzzle):
  logits = {}
  for scale in ('none', 'inverse_sqrt'):
    pretrain_config.model.logit_scale = scale
    model, variables = make(pretrain_config, puzzle)
    logits[scale] = model.apply(variables, *puzzle, train=False)
  dim = 16 * pretrain_config.model.width
  np.testing.assert_allclose(
    logits['none'], logits['inverse_sqrt'] * dim**0.5, rtol=1e-5
  )


@pytest.mark.parametrize('context_positions', [False, True])
def test_targets_do_not_leak_into_the_query(
  pretrain_config, puzzle, context_positions
):
  """Of logit [i, j], only patch j among the targets may have a gradient."""
  pretrain_config.model.context_positions = context_positions
  model, variables = make(pretrain_config, puzzle)
  x, context, targets = puzzle
  gradient = jax.grad(
    lambda x: model.apply(variables, x, context, targets, train=False)[0, 1, 2]
  )(x)
  size = jnp.abs(gradient).sum(axis=(2, 3, 4))
  assert size[0, targets[0, 2]] > 0
  for other in (0, 1, 3):  # 1 is the right one
    assert size[0, targets[0, other]] == 0
  assert (size[0, context[0]] > 0).all()
  assert (size[1] == 0).all()  # nor another image's patches


def test_context_positions_change_the_query(pretrain_config, puzzle):
  model, variables = make(pretrain_config, puzzle)
  pretrain_config.model.context_positions = True
  other = build.selfie(pretrain_config)
  assert not np.allclose(
    model.apply(variables, *puzzle, train=False),
    other.apply(variables, *puzzle, train=False),
  )


def _loaded(*modules):
  """Names of all modules that a process has after it imported these."""
  code = f'import sys, {", ".join(modules)}; print(*sys.modules)'
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  return set(done.stdout.split())


def test_importing_the_networks_loads_networks():
  """Neither TensorFlow, orbax or matplotlib nor another room of ours."""
  names = [module.name for module in pkgutil.iter_modules(models.__path__)]
  assert {'selfie', 'classifier', 'features', 'build'} <= set(names)
  loaded = _loaded(*(f'selfie_jax.models.{name}' for name in names))
  assert 'flax' in loaded
  assert not loaded & {
    'tensorflow', 'tensorflow_datasets', 'orbax', 'matplotlib', 'clu'
  }  # fmt: skip
  ours = {name for name in loaded if name.startswith('selfie_jax.')}
  assert {name for name in ours if '.models' not in name} == {
    'selfie_jax.errors'
  }


def test_the_networks_themselves_need_no_config():
  loaded = _loaded('selfie_jax.models.selfie', 'selfie_jax.models.classifier')
  assert 'ml_collections' not in loaded

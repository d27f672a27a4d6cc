"""Small checkpoints of the steps 3 and 6, and what is read of them again."""

from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax

from selfie_jax import distributed
from selfie_jax.storage import checkpoints
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib

TX = optax.sgd(0.1, momentum=0.9)


class State(train_state.TrainState):
  batch_stats: dict


def state_of(step):
  rng = np.random.default_rng(step)
  state = State.create(
    apply_fn=None,
    params={'a': {'kernel': jnp.asarray(rng.normal(size=(5, 7)))}},
    batch_stats={'a': {'mean': jnp.asarray(rng.normal(size=3))}},
    tx=TX,
  )
  state = state.replace(step=jnp.int32(step))
  return jax.device_put(state, distributed.local_sharding())


def progress_of(step):
  history = [
    {'step': s, 'part': 'validation', 'accuracy': s / 10}
    for s in (3, 6)
    if s <= step
  ]
  return {'history': history, 'window': [], 'identity': {}}


def open_manager(folder, keep=2):
  return checkpoints.Manager(workdir_lib.run_path(folder), keep)


def save(folder, *steps, keep=2):
  with open_manager(folder, keep) as manager:
    for step in steps:
      checkpoints.save(manager, state_of(step), progress_of(step))
    checkpoints.wait(manager)


def saved(folder):
  save(folder, 3, 6)
  return folder


def damage(folder, step=6):
  (folder / 'checkpoints' / str(step) / 'progress' / 'metadata').write_text('')


def weights_step(folder, *step):
  return int(weights.restore(str(folder), *step)['step'])


def resumed(folder):
  """The step that is resumed; it is what was saved, to the bit."""
  with open_manager(folder) as manager:
    state, progress, _ = weights.resume(manager, state_of(0), {})
  step = int(state.step)
  jax.tree.map(np.testing.assert_array_equal, state, state_of(step))
  assert progress['history'] == progress_of(step)['history']
  return step

"""What both tasks, pretraining and finetuning, do in the same way."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any

from flax.training import train_state
import jax
import jax.numpy as jnp
import ml_collections
import optax

from selfie_jax.models import build
from selfie_jax.tasks import optimizer

AXIS = build.AXIS  # name of the pmapped axis
EVALUATION_SEED = 0  # one set of puzzles for the runs of every seed


class TrainState(train_state.TrainState):
  """Step, parameters, optimiser state and BatchNorm's running statistics."""

  batch_stats: Any

  @property
  def variables(self) -> dict[str, Any]:
    """What the network's `apply` takes."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


def initialise(config: ml_collections.ConfigDict, model, *inputs) -> TrainState:
  """A fresh state; every parameter follows from config.seed alone."""
  variables = _init(model, jax.random.key(config.seed), *inputs)
  return TrainState.create(
    apply_fn=model.apply,
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    tx=optimizer.create(config),
  )


@functools.partial(jax.jit, static_argnums=0)
def _init(model, key: jax.Array, *inputs: jax.Array) -> dict[str, Any]:
  """model.init, traced once for all equal models."""
  return model.init(key, *inputs, train=False)


def example_keys(seed: int, step: jax.Array, index: jax.Array) -> jax.Array:
  """Keys [batch] that follow from the seed, the step and each one's index."""
  key = jax.random.fold_in(jax.random.key(seed), step)
  return jax.vmap(functools.partial(jax.random.fold_in, key))(index)


def update(
  state: TrainState,
  config: ml_collections.ConfigDict,
  inputs: tuple[jax.Array, ...],
  dropout_keys: jax.Array,
  score: Callable[[jax.Array], dict[str, jax.Array]],
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One optimisation step over all devices.

  Args:
    state: the state, the same on every device.
    config: the job.
    inputs: what the network takes, this device's examples.
    dropout_keys: keys [batch].
    score: logits -> per-example values [batch], 'loss' among them.

  Returns:
    The new state and the mean values, both the same on every device.
  """

  def loss_fn(params):
    logits, updates = state.apply_fn(
      {'params': params, 'batch_stats': state.batch_stats},
      *inputs,
      train=True,
      dropout_keys=dropout_keys,
      mutable=['batch_stats'],
    )
    metrics = {name: value.mean() for name, value in score(logits).items()}
    return metrics['loss'], (metrics, updates['batch_stats'])

  grads, (metrics, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
  # One tree, so that the compiler makes one all-reduce of it. Statistics that
  # BatchNorm synchronised already are equal, and their mean changes nothing.
  grads, metrics, batch_stats = jax.lax.pmean(
    (grads, metrics, batch_stats), AXIS
  )
  metrics |= {
    'learning_rate': optimizer.schedule(config)(state.step),
    'gradient_norm': optax.tree.norm(grads),
  }
  return state.apply_gradients(grads=grads, batch_stats=batch_stats), metrics


def parallel_train_step(
  task,
  config: ml_collections.ConfigDict,
  devices: Sequence[jax.Device] | None = None,
):
  """The task's step over devices: (state, batch) -> (state, metrics).

  Args:
    task: a module of tasks/.
    config: the job.
    devices: None for the local ones.

  Returns:
    What jax.pmap makes of it; the state is whole and donated, the batch is
    [devices, batch / devices, ...].
  """
  return jax.pmap(
    functools.partial(task.train_step, config=config),
    AXIS,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
    devices=devices,
  )


def masked_sums(
  batch: dict[str, jax.Array], values: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Sums over all devices of per-example values [batch], padding left out.

  `count` is the number of examples; divided by it, sums are exact means.
  """
  mask = batch['mask']
  sums = {name: jnp.sum(value * mask) for name, value in values.items()}
  return jax.lax.psum(sums | {'count': jnp.sum(mask)}, AXIS)

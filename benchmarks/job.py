"""The bare step of a job: what main.py runs, without data and without loop."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state as task_lib

TASKS = {'pretrain': pretrain, 'finetune': finetune}  # by the config's mode


def num_classes(config: ml_collections.ConfigDict) -> int:
  """Of the job's data set, as far as the cost of a step depends on it."""
  return 1000 if config.dataset.name.startswith('imagenet') else 10


def make_state(config: ml_collections.ConfigDict) -> task_lib.TrainState:
  """A fresh state of the job, from random weights."""
  state = TASKS[config.mode].create_state(config, num_classes(config))
  return jax.tree.map(jnp.asarray, state)


def make_batch(
  config: ml_collections.ConfigDict, devices: int
) -> dict[str, np.ndarray]:
  """A batch of noise, laid out over devices as the loop does it."""
  draw = np.random.default_rng(0)
  shape = (devices, config.batch_size // devices)
  side = config.image_size
  size = int(np.prod(shape))
  return {
    'image': draw.integers(0, 256, (*shape, side, side, 3), np.uint8),
    'label': draw.integers(0, num_classes(config), shape).astype(np.int32),
    'index': np.arange(size, dtype=np.int32).reshape(shape),
  }


def lower_step(
  config: ml_collections.ConfigDict,
  state: task_lib.TrainState,
  devices: Sequence[jax.Device] | None = None,
) -> jax.stages.Lowered:
  """The training step over devices, ready to compile.

  Args:
    config: the job.
    state: of this job, or what jax.eval_shape makes of it.
    devices: None for the local ones; else those of a described topology.
  """
  step = task_lib.parallel_train_step(TASKS[config.mode], config, devices)
  count = len(devices) if devices else jax.local_device_count()
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
    (state, make_batch(config, count)),
  )
  return step.lower(*shapes)

"""How a job starts: its folder, its images, its weights, in this order."""

from collections.abc import Iterator
import contextlib
import logging
import os
from typing import Any

from clu import parameter_overview
from etils import epath
from flax.training import train_state
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import sources
from selfie_jax.storage import checkpoints
from selfie_jax.storage import run_metadata
from selfie_jax.storage import timm_weights
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

# Fields in which a finetuning job must equal its pretraining: for every
# network, for one with attention, and for one with attention and positions.
PATCH_NETWORK_FIELDS = (
  'model.width', 'model.stem', 'normalise.mean', 'normalise.std',
)  # fmt: skip
ATTENTION_FIELDS = (
  'model.closing_norm', 'model.context_positions', 'model.attention.num_layers',
  'model.attention.num_heads', 'model.attention.hidden',
)  # fmt: skip
POSITION_FIELDS = ('model.positions', 'image_size', 'patch_size')


@contextlib.contextmanager
def open_workdir(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> Iterator[tuple[epath.Path, dict[str, Any] | None]]:
  """Locks a job's folder; yields it, and the results if the job is finished.

  Raises:
    UserError: the config cannot work; the folder cannot be written to, is in
      use, or holds another job, or a finished one on other images.
  """
  # 1. The config works here.
  config_lib.check(config, jax.device_count())
  with contextlib.ExitStack() as stack:
    # 2. The folder can be written, and nobody else does.
    folder = workdir_lib.run_path(workdir)
    distributed.broadcast_from_primary(
      lambda: stack.enter_context(workdir_lib.lock_workdir(folder))
    )
    # 3. It is new or holds this very job.
    run_metadata.check_config(config, folder)
    # 4. If that is finished, it says so. One process looks for all of them.
    results = distributed.broadcast_from_primary(
      lambda: run_metadata.load_results(folder)
    )
    if results:
      data = {}
      with contextlib.suppress(errors.UserError):  # the images may be gone
        data = batches_lib.read_metadata(config)
      run_metadata.check_data(data, folder)
      logger.info(
        '%s is finished; for another run give another --workdir', folder
      )
    else:
      distributed.log_devices()
      # A program takes about a thousand memory maps, of which Linux gives a
      # process 65,530: else some forty jobs in one process would crash it.
      stack.callback(jax.clear_caches)
    yield folder, results


def open_data(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> tuple[sources.Source, sources.Source, run_metadata.Data]:
  """5. The training and test images, and what data.json says of them.

  UserError if they cannot be read, or differ between the processes or from
  those that the run was started on.
  """
  train, test = batches_lib.open_sources(config)
  data = {'train': train.metadata, 'test': test.metadata}
  distributed.check_equal(data, 'images')
  run_metadata.check_data(data, workdir)
  return train, test, data


def restore_or_create(
  task, config: ml_collections.ConfigDict, num_classes: int, manager
) -> tuple[train_state.TrainState, dict[str, Any] | None]:
  """6. The state that a run begins with, and the progress saved with it.

  Returns:
    The state, a copy on each local device, laid out as the steps return it, so
    that they are compiled once; the progress, or None.

  Raises:
    UserError: no checkpoint of the run, or no init_from, can be used.
  """
  # From the newest checkpoint of the run itself,
  shapes = jax.eval_shape(lambda: task.create_state(config, num_classes))
  if resumed := checkpoints.resume(manager, shapes):
    state, progress = resumed
    logger.info('Continuing from step %d of %d', state.step, config.total_steps)
  else:
    # else from the weights of config.init_from, else from random ones.
    pretrained, progress = read_pretrained(config), None
    state = task.create_state(config, num_classes, pretrained)
  overview = parameter_overview.get_parameter_overview(
    state.params, include_stats=False
  )
  logger.info('\n%s', overview)
  return jax.device_put(state, distributed.local_sharding()), progress


def read_pretrained(
  config: ml_collections.ConfigDict,
) -> dict[str, Any] | None:
  """Parameters and batch statistics of config.init_from; None without it.

  Raises:
    UserError: it is neither a pretraining run nor a .safetensors file of
      timm's, or its network differs.
  """
  if config.mode != 'finetune' or not config.init_from:
    return None
  if config.init_from.endswith('.safetensors'):
    return timm_weights.read(config.init_from)
  _check_same_model(config)
  return weights.restore(config.init_from)


def _check_same_model(config: ml_collections.ConfigDict) -> None:
  pretraining = run_metadata.load_config(workdir_lib.run_path(config.init_from))
  if pretraining is None or pretraining.mode != 'pretrain':
    what = 'is not a run: no config.json there'
    if pretraining is not None:
      what = f'is a run of mode={pretraining.mode}'
    raise errors.UserError(
      f'init_from={config.init_from} {what}; give the folder of a pretraining '
      'run, such as --config.init_from=runs/cifar_pretrain'
    )
  saved, ours = config_lib.flatten(pretraining), config_lib.flatten(config)
  fields = PATCH_NETWORK_FIELDS
  if config.model.name == 'resnet36_attention':
    fields += ATTENTION_FIELDS
    if config.model.context_positions:
      fields += POSITION_FIELDS
  wrong = [
    f'config.{field}={ours[field]} (pretrained: {saved[field]})'
    for field in fields
    if ours[field] != saved[field]
  ]
  if wrong:
    raise errors.UserError(
      f'init_from={config.init_from} does not fit: {", ".join(wrong)}. Give '
      'these fields the values of the pretraining run'
    )

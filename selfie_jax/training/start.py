"""How a job starts: its config, folder, images and weights, in this order.

What is compared with the folder is looked up by one process for all of them.
"""

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

from selfie_jax import cache
from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.storage import checksums
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import pretrained as pretrained_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import processes

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def open_workdir(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> Iterator[tuple[epath.Path, dict[str, Any] | None]]:
  """Locks a job's folder; yields it, and the results if the job is finished.

  Raises:
    UserError: the processes have different configs; the config cannot work; the
      folder cannot be written to, is in use, is not seen by all processes, or
      holds another job, or a finished one on other images.
  """
  # 1. The config is the same in all processes, and works here.
  processes.check_same_config(config)
  config_lib.check(config, jax.device_count())
  with contextlib.ExitStack() as stack:
    # 2. The folder can be written, nobody else does, and all processes see it.
    folder = workdir_lib.run_path(workdir)
    distributed.broadcast_from_primary(
      lambda: stack.enter_context(workdir_lib.lock_workdir(folder))
    )
    processes.check_shared(folder)
    # 3. It is new or holds this very job, finished or not.
    results = distributed.broadcast_from_primary(
      lambda: _find_results(config, folder)
    )
    data = {}
    if results:
      data = _read_metadata(config)
    distributed.broadcast_from_primary(
      lambda: _check_identity(config, folder, results, data)
    )
    # 4. If that is finished, it says so.
    if results:
      says = '%s is finished; for another run give another --workdir'
      logger.info(says, folder)
      _warn_of_other_start(config, folder, results)
    else:
      distributed.log_devices()
      # A program takes about a thousand memory maps, of which Linux gives a
      # process 65,530: else some forty jobs in one process would crash it.
      stack.callback(cache.release_memory)
      stack.callback(jax.clear_caches)
    yield folder, results


def identify(
  config: ml_collections.ConfigDict,
  data: run_metadata.Data,
  workdir: epath.Path,
) -> identity_lib.Identity:
  """5. Which run this is, whose images have been opened.

  UserError if the images differ between the processes, or are not those that
  the run was started on; or if the folder is of another run.
  """
  distributed.check_equal(data, 'images')
  run_metadata.check_data(data, workdir)
  return distributed.broadcast_from_primary(
    lambda: identity_lib.identify(
      config, workdir, data, **processes.environment(config)
    )
  )


def restore_or_create(
  task,
  config: ml_collections.ConfigDict,
  num_classes: int,
  manager,
  identity: identity_lib.Identity,
) -> tuple[
  train_state.TrainState, dict[str, Any] | None, identity_lib.Identity
]:
  """6. The state that a run begins with, and the progress saved with it.

  From the newest checkpoint of the run itself, else from the weights of
  config.init_from, else from random ones.

  Returns:
    The state, a copy on each local device, laid out as the steps return it, so
    that they are compiled once; the progress, or None; the identity, with the
    weights that the run was started with.

  Raises:
    UserError: no checkpoint of the run, or no init_from, can be used; or it is
      not the one that the run was started with.
  """
  shapes = jax.eval_shape(lambda: task.create_state(config, num_classes))
  if resumed := weights.resume(manager, shapes, identity):
    state, progress, identity = resumed
    logger.info('Continuing from step %d of %d', state.step, config.total_steps)
  else:
    pretrained, progress = pretrained_lib.read(config), None
    workdir = manager.directory.parent
    identity = _add_start(identity, config, pretrained, workdir)
    state = task.create_state(config, num_classes, pretrained)
  overview = parameter_overview.get_parameter_overview(
    state.params, include_stats=False
  )
  logger.info('\n%s', overview)
  state = jax.device_put(state, distributed.local_sharding())
  return state, progress, identity


def save(
  config: ml_collections.ConfigDict,
  data: run_metadata.Data,
  identity: identity_lib.Identity,
  workdir: epath.Path,
) -> None:
  """7. Writes down what the run is, before its first step."""
  if distributed.is_primary():
    run_metadata.save(config, data, workdir)
    workdir_lib.write_json(workdir / identity_lib.FILE, identity)


def _find_results(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> dict[str, Any] | None:
  """The results of a finished job; UserError if the folder holds another."""
  run_metadata.check_config(config, workdir)
  return run_metadata.load(workdir, 'results.json')


def _read_metadata(config) -> run_metadata.Data:
  """Of the images of a finished job, which may be gone."""
  config = config.copy_and_resolve_references()
  config.dataset.download = False
  try:
    return batches_lib.read_metadata(config)
  except errors.UserError as gone:
    logger.warning('The images are not compared: %s', gone)
    return {}


def _check_identity(config, workdir: epath.Path, results, data) -> None:
  """Compares the job with all but its checkpoints, as far as known so far."""
  run_metadata.check_data(data, workdir)
  identity = identity_lib.identify(
    config, workdir, None, **processes.environment(config)
  )
  if results:
    identity_lib.check(identity, results, workdir, 'results.json')


def _add_start(identity, config, pretrained, workdir) -> identity_lib.Identity:
  """The identity with the weights that the run begins with, always the same."""
  start = checksums.name_weights(pretrained)
  distributed.check_equal(start, 'weights in init_from')
  begun = identity.get('start', start)
  if begun != start:
    raise errors.UserError(
      f'{workdir} was started from {begun} of init_from={config.init_from}, '
      f'which now has {start}, and it has no checkpoint of its own yet. Put '
      f'back what it was started from, or {run_metadata.NEW_RUN}'
    )
  return identity | {'start': start}


def _warn_of_other_start(config, workdir: epath.Path, results) -> None:
  """Says so if init_from is another now than when a finished job began."""
  if jax.process_count() > 1:  # if one cannot read it, the others would wait
    return
  begun = results.get(identity_lib.KEY, {}).get('start')
  with contextlib.suppress(errors.UserError):  # it may be gone
    now = begun and checksums.name_weights(pretrained_lib.read(config))
    if now != begun:
      says = '%s began with %s of its init_from, which has %s by now'
      logger.warning(says, workdir, begun, now)

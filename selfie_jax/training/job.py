"""What all jobs, whatever their mode, begin with: a folder that is theirs."""

from collections.abc import Iterator
import contextlib
import logging
import os
from typing import Any

from etils import epath
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)


def finished(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> dict[str, Any] | None:
  """The results of the job if it has ended in this folder, else None.

  Raises:
    UserError: the config cannot work, or the folder holds another job, or one
      on other images.
  """
  config_lib.check(config, jax.device_count())
  folder = workdir_lib.run_path(workdir)
  run_metadata.check_config(config, folder)
  results = run_metadata.load_results(folder)
  # One process looks for all of them: those that go on would wait for ever.
  if not distributed.broadcast_from_primary(lambda: bool(results)):
    return None
  if results:
    data = {}
    with contextlib.suppress(errors.UserError):  # the images may be gone
      data = batches_lib.read_metadata(config)
    run_metadata.check_data(data, folder)
    logger.info(
      '%s is finished; for another run give another --workdir', folder
    )
  return results


@contextlib.contextmanager
def claim(workdir: str | os.PathLike[str]) -> Iterator[epath.Path]:
  """Makes a run's folder and holds it against other runs; clears up after it.

  Raises:
    UserError: it cannot be written to, or is in use.
  """
  distributed.log_devices()
  folder = workdir_lib.run_path(workdir)
  with contextlib.ExitStack() as stack:
    distributed.broadcast_from_primary(
      lambda: stack.enter_context(workdir_lib.claim(folder))
    )
    # A program takes about a thousand memory maps, of which Linux gives a
    # process 65,530: without this, some forty jobs in one process crash it.
    stack.callback(jax.clear_caches)
    yield folder

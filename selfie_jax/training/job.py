"""What all jobs, whatever their mode, begin with: a folder that is theirs."""

from collections.abc import Callable
import contextlib
import json
import logging
import os
from typing import Any

from etils import epath
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)


def run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str],
  action: Callable[[ml_collections.ConfigDict, epath.Path], dict[str, Any]],
) -> dict[str, Any]:
  """Runs a job in its folder, once; a finished one is only read.

  Args:
    config: see configs/common.py.
    workdir: the run's folder; made if it is not there.
    action: does the job; gets the config and the folder, writes results.json.

  Returns:
    What workdir/results.json holds.

  Raises:
    UserError: the config cannot work, or the workdir holds another job, cannot
      be written to or is in use.
  """
  config_lib.check(config, jax.device_count())
  workdir = workdir_lib.run_path(workdir)
  config_lib.check_same_job(config, workdir)
  if (workdir / 'results.json').exists():
    logger.info(
      '%s is finished; for another run give another --workdir', workdir
    )
    return json.loads((workdir / 'results.json').read_text())
  distributed.log_devices()
  with contextlib.ExitStack() as stack:
    error = None
    if distributed.is_primary():
      try:
        stack.enter_context(workdir_lib.claim(workdir))
      except errors.UserError as caught:
        error = caught
    distributed.raise_everywhere(error)
    # A program takes about a thousand memory maps, of which Linux gives a
    # process 65,530: without this, some forty jobs in one process crash it.
    stack.callback(jax.clear_caches)
    return action(config, workdir)

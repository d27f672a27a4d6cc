"""The weights of a run, for whoever uses its network."""

from typing import Any

import jax

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


def restore(run: str, step: int = -1) -> dict[str, Any]:
  """Parameters and batch statistics of a run.

  With several processes, all of them must call it.

  Args:
    run: the run's folder.
    step: of the checkpoint; -1 for the one that the run's results are of if it
      is finished, else the newest.

  Returns:
    {'step': ..., 'params': ..., 'batch_stats': ...} on one device, whatever
    number of devices wrote them.

  Raises:
    UserError: there is no checkpoint (of that step), or none that can be read.
  """
  workdir = workdir_lib.run_path(run)
  if not (workdir / checkpoints.FOLDER).exists():
    raise errors.UserError(
      f'{run} has no checkpoint yet; a run saves one every '
      '--config.checkpoint_every=STEPS. Type its command again, and wait for '
      'the first'
    )
  with checkpoints.open_manager(workdir) as manager:
    steps = checkpoints.saved_steps(manager)
    if step != -1 and step not in steps:
      raise errors.UserError(
        f'{run} has no checkpoint of step {step}, but of '
        f'{", ".join(map(str, sorted(steps)))}; a run keeps its newest '
        '--config.keep_checkpoints=N, one every --config.checkpoint_every=STEPS'
      )
    results = run_metadata.load_results(workdir) or {}
    chosen = results.get('checkpoint')
    # The chosen one is tried first, then from the newest to the oldest.
    steps.sort(key=lambda step: step != chosen)
    _, arrays, _ = checksums.newest_valid(
      manager.directory,
      steps if step == -1 else [step],
      'run its job again with --workdir=SOMEWHERE_ELSE',
      ('step', 'params', 'batch_stats'),
    )
  return jax.device_put(arrays, jax.local_devices()[0])

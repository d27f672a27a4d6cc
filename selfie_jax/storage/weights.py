"""The weights of a run, for whoever uses its network."""

from typing import Any

import jax

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


def restore(run: str, step: int = -1) -> dict[str, Any]:
  """Parameters and batch statistics of a run.

  With several processes, all of them must call it.

  Args:
    run: the run's folder.
    step: of the checkpoint; -1 for the one that the run's results are of if it
      is finished, else the newest. No other is taken in its place.

  Returns:
    {'step': ..., 'params': ..., 'batch_stats': ...} on one device, whatever
    number of devices wrote them.

  Raises:
    UserError: there is no checkpoint (of that step), or none that can be read;
      or it is of another run than the folder.
  """
  workdir = workdir_lib.run_path(run)
  identity = identity_lib.read(workdir)
  steps = []
  if (workdir / checkpoints.FOLDER).exists():
    with checkpoints.open_manager(workdir) as manager:
      steps = checkpoints.saved_steps(manager)
  if not steps:
    raise errors.UserError(
      f'{run} has no checkpoint yet; a run saves one every '
      '--config.checkpoint_every=STEPS. Type its command again, and wait for '
      'the first'
    )
  if step != -1 and step not in steps:
    raise errors.UserError(
      f'{run} has no checkpoint of step {step}, but of '
      f'{", ".join(map(str, sorted(steps)))}; a run keeps its newest '
      '--config.keep_checkpoints=N, one every --config.checkpoint_every=STEPS'
    )
  results = run_metadata.load_results(workdir) or {}
  tested, remedy = (
    results.get('checkpoint', steps[0]),
    (
      'put back its copy, or run its job again with --workdir=SOMEWHERE_ELSE'
      if results
      else 'type its command again: it goes back to the one before'
    ),
  )
  step = tested if step == -1 else step
  if step not in steps:
    raise errors.UserError(
      f'{run} has no longer the checkpoint of step {step}, which its results '
      f'are of; {remedy}'
    )
  folder = workdir / checkpoints.FOLDER
  _, arrays, progress = checksums.newest_valid(
    folder, [step], remedy, checkpoints.NETWORK
  )
  saved = progress.get(identity_lib.KEY, {})
  identity_lib.check(identity, saved, folder / str(step))
  network = {name: arrays[name] for name in ('params', 'batch_stats')}
  sealed = results.get('weights')
  if step == tested and sealed and checksums.digest(network) != sealed:
    raise errors.UserError(
      f'{folder / str(step)} has other weights than the results of {run}; '
      f'{remedy}'
    )
  return jax.device_put(arrays, jax.local_devices()[0])

"""Each arm's learning rate, chosen on the validation part from one grid.

The runs to choose by have a seed of their own, so no run of the report has
been looked at before. The test accuracy plays no part.
"""

from selfie_jax import experiments
from selfie_jax import gathering

Key = tuple[str, str, float]  # Job.key: arm, network, label fraction


def accuracies(
  plan: experiments.Plan, folders: gathering.Folders
) -> dict[Key, dict[float, float | None]]:
  """{key: {learning rate: validation accuracy}} of what is finished.

  A run whose loss became infinite has None.
  """
  found: dict[Key, dict[float, float | None]] = {}
  for job in plan.tunings():
    if not folders.is_done(job):
      continue
    results = folders.outcome(job).results
    rate = float(dict(job.fields)['optimizer.learning_rate'])
    found.setdefault(job.key, {})[rate] = (
      results and results['metrics']['validation_accuracy']
    )
  return found


def choose(
  plan: experiments.Plan, folders: gathering.Folders
) -> dict[Key, float] | None:
  """The best rate of each key whose grid is finished, the lower of two equals.

  Returns:
    {key: learning rate}; None where nothing is tuned, and both arms have the
    config's.
  """
  if not plan.grid:
    return None
  return {
    key: max(
      (rate for rate in sorted(values) if values[rate] is not None),
      key=values.get,
    )
    for key, values in accuracies(plan, folders).items()
    if len(values) == len(plan.grid)
    and any(value is not None for value in values.values())
  }

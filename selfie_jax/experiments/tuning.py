"""Each arm's learning rate, chosen on the validation part from one grid.

The runs to choose by have seeds of their own, so no run of the report has
been looked at before. The test accuracy plays no part.
"""

from typing import Any

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import statistics

Key = tuple[str, str, float]  # Job.key: arm, network, label fraction


def accuracies(
  plan: plan_lib.Plan, folders: results_lib.Folders
) -> dict[Key, dict[float, float | None]]:
  """{key: {learning rate: mean validation accuracy over the seeds}}.

  Of the rates whose runs are all finished; None if the loss of one of these
  became infinite.
  """
  runs: dict[tuple[Key, float], list[plan_lib.Job]] = {}
  for job in plan.tunings():
    rate = float(dict(job.fields)['optimizer.learning_rate'])
    runs.setdefault((job.key, rate), []).append(job)
  found: dict[Key, dict[float, float | None]] = {}
  for (key, rate), jobs in runs.items():
    if all(map(folders.is_done, jobs)):
      results = [folders.outcome(job).results for job in jobs]
      found.setdefault(key, {})[rate] = _mean(results)
  return found


def _mean(results: list[dict[str, Any] | None]) -> float | None:
  if None in results:
    return None
  values = [each['metrics']['validation_accuracy'] for each in results]
  return statistics.mean_std(values)[0]


def choose(
  plan: plan_lib.Plan, folders: results_lib.Folders
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

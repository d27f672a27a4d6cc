"""Each arm's learning rate, chosen on the validation part from one grid.

The runs to choose by have seeds of their own, so no run of the report has
been looked at before. The test accuracy plays no part.
"""

import statistics
from typing import Any

from selfie_jax import experiments
from selfie_jax import gathering

Key = tuple[str, str, float]  # Job.key: arm, network, label fraction


def accuracies(
  plan: experiments.Plan, folders: gathering.Folders
) -> dict[Key, dict[float, float | None]]:
  """{key: {learning rate: mean validation accuracy over the seeds}}.

  Of the rates whose runs are all finished; None if the loss of one of these
  became infinite.
  """
  runs: dict[Key, dict[float, list[experiments.Job]]] = {}
  for job in plan.tunings():
    rate = float(dict(job.fields)['optimizer.learning_rate'])
    runs.setdefault(job.key, {}).setdefault(rate, []).append(job)
  return {
    key: {
      rate: _mean([folders.outcome(job).results for job in jobs])
      for rate, jobs in rates.items()
      if all(map(folders.is_done, jobs))
    }
    for key, rates in runs.items()
  }


def _mean(results: list[dict[str, Any] | None]) -> float | None:
  if None in results:
    return None
  return statistics.fmean(r['metrics']['validation_accuracy'] for r in results)


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

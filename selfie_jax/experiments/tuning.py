"""Each arm's learning rate, chosen on the validation part from one grid.

The runs to choose by have seeds of their own, so no run of the report has
been looked at before. The test accuracy plays no part.
"""

import pandas as pd

from selfie_jax.experiments import plan as plan_lib

KEY = ['arm', 'network', 'fraction']  # what has a learning rate of its own


def accuracies(runs: pd.DataFrame) -> pd.Series:
  """Mean validation accuracy over the seeds, by KEY and learning rate.

  Of the rates whose runs have all ended; NaN if the loss of one of these
  became infinite.
  """
  tried = runs[runs.stage == 'tune'].groupby([*KEY, 'rate'], sort=False)
  means = tried.validation_accuracy.agg(lambda runs: runs.mean(skipna=False))
  return means[tried.ended.all()]


def choose(
  plan: plan_lib.Plan, runs: pd.DataFrame
) -> dict[tuple[str, str, float], float]:
  """The best rate by KEY, the lower of two equals; if its grid is finished."""
  if not plan.grid:
    return {}
  return {
    key: tried.droplevel(KEY).sort_index().idxmax()
    for key, tried in accuracies(runs).groupby(level=KEY)
    if len(tried) == len(plan.grid) and tried.notna().any()
  }

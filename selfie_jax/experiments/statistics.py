"""Means over seeds, the choice of learning rates, and Welch's interval."""

from collections.abc import Sequence
import itertools

import numpy as np
import pandas as pd
from scipy import stats

from selfie_jax.experiments import plan as plan_lib

_GROUP = ['arm', 'network', 'fraction']  # has a learning rate of its own


def tuning_accuracies(runs: pd.DataFrame) -> pd.Series:
  """Mean validation accuracy by arm, network, fraction and learning rate.

  Only of rates whose runs have all ended; NaN if a run of the rate diverged.
  """
  tried = runs[runs.stage == 'tune'].groupby([*_GROUP, 'rate'], sort=False)
  means = tried.validation_accuracy.agg(
    lambda values: values.mean(skipna=False)
  )
  return means[tried.ended.all()]


def choose_rates(
  plan: plan_lib.Plan, runs: pd.DataFrame
) -> dict[tuple[str, str, float], float]:
  """The rate with the best mean validation accuracy, of equals the lowest.

  Returns:
    {(arm, network, fraction): rate} where all rates of the grid have ended.
  """
  if not plan.grid:
    return {}
  return {
    key: tried.droplevel(_GROUP).sort_index().idxmax()
    for key, tried in tuning_accuracies(runs).groupby(level=_GROUP)
    if len(tried) == len(plan.grid) and tried.notna().any()
  }


def group_cells(runs: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
  """{(arm, network, fraction, choice): the finished cells, a row a seed}."""
  cells = runs[(runs.stage == 'cell') & runs.finished]
  return dict(list(cells.groupby([*_GROUP, 'choice'])))


def compare(plan: plan_lib.Plan, runs: pd.DataFrame) -> pd.DataFrame:
  """A row for each label fraction and group, or choice of an ablation.

  Returns:
    fraction; kind, the name of the group or choice; count, mean and std of
    the test accuracies in percent; ahead, the difference to the first kind in
    points; low and high, Welch's 95 % interval of it; paper, paper_std and
    paper_ahead; of an ablation patch_accuracy and chance, in percent.
  """
  starts = runs[runs.stage == 'pretrain'].set_index('choice')
  cells, missing, rows = group_cells(runs), (np.nan, np.nan), []
  for fraction, (group, name), choice in itertools.product(
    plan.fractions, plan.spec.groups.items(), starts.index
  ):
    found = cells.get((*group, fraction, choice), runs[:0])
    ours = 100 * found.test_accuracy
    row = {'fraction': fraction, 'kind': choice or name, 'ours': ours}
    row |= {'count': len(ours), 'mean': ours.mean(), 'std': ours.std()}
    paper = plan.spec.published.get((*group, fraction), missing)
    row['paper'], row['paper_std'] = paper
    for metric in ('patch_accuracy', 'chance'):
      row[metric] = 100 * starts[metric][choice]
    rows.append(row)
  table = pd.DataFrame(rows)
  first = table.groupby('fraction', sort=False).transform('first')
  table['ahead'] = table['mean'] - first['mean']
  table['paper_ahead'] = table.paper - first.paper
  intervals = map(welch_interval, table.pop('ours'), first.ours)
  table['low'], table['high'] = zip(*intervals, strict=True)
  if not plan.spec.is_ablation:
    table[['patch_accuracy', 'chance']] = np.nan
  differences = ['ahead', 'paper_ahead', 'low', 'high']
  table.loc[~table.duplicated('fraction'), differences] = np.nan
  return table


def welch_interval(
  ours: Sequence[float], others: Sequence[float]
) -> tuple[float, float]:
  """Welch's 95 % interval of mean(ours) - mean(others).

  NaN if a sample has less than two values or none varies. See
  scipy.stats.ttest_ind.
  """
  if min(len(ours), len(others)) < 2 or not (np.ptp(ours) or np.ptp(others)):
    return np.nan, np.nan
  test = stats.ttest_ind(ours, others, equal_var=False)
  return tuple(map(float, test.confidence_interval(0.95)))

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
  means = tried.validation_accuracy.mean(skipna=False)
  return means[tried.ended.all()]


def choose_rates(
  plan: plan_lib.Plan, runs: pd.DataFrame
) -> dict[tuple[str, str, float], float]:
  """The rate with the best mean validation accuracy, of equals the lowest.

  Returns:
    {(arm, network, fraction): rate} where all rates of the grid have ended.
  """
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

  With several pretrainings the mean of the runs from each of them counts as one
  value, since runs from the same weights are not independent.

  Returns:
    fraction; kind, the name of the group or choice; count, the number of runs;
    mean and std of the test accuracies in percent; ahead, the difference to the
    first kind in points; low and high, Welch's 95 % interval of it; paper,
    paper_std and paper_ahead; of an ablation patch_accuracy and chance, in
    percent.
  """
  starts = runs[runs.stage == 'pretrain'].drop_duplicates('choice')
  starts = starts.set_index('choice')
  cells, rows = group_cells(runs), []
  for fraction in plan.fractions:
    baseline = None
    kinds = itertools.product(plan.spec.groups.items(), starts.index)
    for (group, name), choice in kinds:
      key = *group, fraction
      found = cells.get((*key, choice), runs[:0])
      ours = 100 * found.test_accuracy
      if plan.pretrain_seeds > 1 and group[0] == 'selfie':
        ours = ours.groupby([job.start.name for job in found.job]).mean()
      paper, paper_std = plan.spec.published.get(key, (np.nan, np.nan))
      row = {'fraction': fraction, 'kind': choice or name, 'count': len(found)}
      row |= {'mean': ours.mean(), 'std': ours.std()}
      row |= {'paper': paper, 'paper_std': paper_std}
      puzzle = starts.loc[choice, ['patch_accuracy', 'chance']]
      row |= puzzle * (100 if plan.spec.is_ablation else np.nan)
      if baseline is None:
        baseline = ours, paper
      else:
        row['ahead'] = ours.mean() - baseline[0].mean()
        row['low'], row['high'] = welch_interval(ours, baseline[0])
        row['paper_ahead'] = paper - baseline[1]
      rows.append(row)
  return pd.DataFrame(rows)


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

"""Means over seeds, the paper's beside ours, and how sure a difference is."""

from collections.abc import Sequence
import itertools

import numpy as np
import pandas as pd
from scipy import stats

from selfie_jax.experiments import plan as plan_lib


def cells(
  runs: pd.DataFrame, arm: str, network: str, fraction: float, choice: str = ''
) -> pd.DataFrame:
  """The finished cells of a kind, seed by seed."""
  kind = {'arm': arm, 'network': network, 'fraction': fraction}
  kind |= {'stage': 'cell', 'choice': choice, 'finished': True}
  return runs[(runs[[*kind]] == pd.Series(kind)).all(axis=1)]


def compare(plan: plan_lib.Plan, runs: pd.DataFrame) -> pd.DataFrame:
  """A row for each label fraction and group, or choice of an ablation.

  Returns:
    fraction; kind, the name of the group or choice; count, mean and std of
    the test accuracies in percent; ahead of the first kind by so many points,
    and from low to high, Welch's 95 % interval of it; paper, paper_std and
    paper_ahead; of an ablation patch_accuracy and chance, in percent.
  """
  starts = runs[runs.stage == 'pretrain'].set_index('choice')
  rows = []
  for fraction in plan.fractions:
    first = None
    for (group, name), choice in itertools.product(
      plan.spec.groups.items(), starts.index
    ):
      ours = 100 * cells(runs, *group, fraction, choice).test_accuracy
      paper, paper_std = plan.spec.published.get(
        (*group, fraction), (np.nan, np.nan)
      )
      row = {'fraction': fraction, 'kind': choice or name, 'count': len(ours)}
      row |= {'mean': ours.mean(), 'std': ours.std()}
      row |= {'paper': paper, 'paper_std': paper_std}
      if plan.spec.ablates:
        row |= (
          100 * starts.loc[choice, ['patch_accuracy', 'chance']]
        ).to_dict()
      if first:
        row['ahead'] = ours.mean() - first[0].mean()
        row['paper_ahead'] = paper - first[1]
        row['low'], row['high'] = welch_interval(ours, first[0])
      first = first or (ours, paper)
      rows.append(row)
  names = ['ahead', 'low', 'high', 'paper_ahead', 'patch_accuracy', 'chance']
  return pd.DataFrame(rows, columns=dict.fromkeys([*rows[0], *names]))


def welch_interval(
  ours: Sequence[float], others: Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
  """Welch's interval of mean(ours) - mean(others), see scipy.stats.ttest_ind.

  NaN if a sample has less than two values or none varies.
  """
  if min(len(ours), len(others)) < 2 or not (np.ptp(ours) or np.ptp(others)):
    return np.nan, np.nan
  test = stats.ttest_ind(ours, others, equal_var=False)
  return tuple(map(float, test.confidence_interval(confidence)))

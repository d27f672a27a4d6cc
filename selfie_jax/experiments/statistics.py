"""Means over seeds and how sure their difference is."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
  """The mean and the standard deviation of the sample (n - 1); None for one."""
  std = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return float(np.mean(values)), std


def welch_interval(
  ours: Sequence[float], others: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
  """Welch's interval of mean(ours) - mean(others).

  For samples whose variances may differ; see scipy.stats.ttest_ind.

  Returns:
    (low, high); None if a sample has less than two values or none varies.
  """
  if min(len(ours), len(others)) < 2 or not (np.ptp(ours) or np.ptp(others)):
    return None
  test = stats.ttest_ind(ours, others, equal_var=False)
  interval = test.confidence_interval(confidence)
  return float(interval.low), float(interval.high)

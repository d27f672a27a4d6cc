"""Means, deviations and Welch's interval."""

import numpy as np
import pytest
from scipy import stats

from selfie_jax.experiments import statistics

SELFIE = [52.1, 53.0, 51.7, 52.6, 53.4]
SUPERVISED = [50.2, 51.9, 49.8, 50.6]


def test_mean_and_deviation_of_the_sample():
  mean, std = statistics.mean_std([1.0, 2.0, 6.0])
  assert mean == 3.0
  assert std == pytest.approx(np.sqrt(7.0))  # (4 + 1 + 9) / 2
  assert statistics.mean_std([5.0]) == (5.0, None)


def test_interval_is_welchs():
  low, high = statistics.welch_interval(SELFIE, SUPERVISED)
  # Welch, 1947: t quantile with Satterthwaite's degrees of freedom.
  a, b = np.var(SELFIE, ddof=1) / 5, np.var(SUPERVISED, ddof=1) / 4
  freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 3)
  reach = stats.t.ppf(0.975, freedom) * np.sqrt(a + b)
  difference = np.mean(SELFIE) - np.mean(SUPERVISED)
  assert (low, high) == pytest.approx((difference - reach, difference + reach))


def test_interval_excludes_zero_when_the_test_says_so():
  p = stats.ttest_ind(SELFIE, SUPERVISED, equal_var=False).pvalue
  low, _ = statistics.welch_interval(SELFIE, SUPERVISED, confidence=1 - p)
  assert low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
  'ours, others', [([1.0], [1.0, 2.0]), ([1.0, 1.0], [2.0, 2.0])]
)
def test_no_interval_without_spread(ours, others):
  assert statistics.welch_interval(ours, others) is None

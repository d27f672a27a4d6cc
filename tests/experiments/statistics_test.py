"""Means, deviations, differences and Welch's interval."""

import made_up_runs
import numpy as np
import pytest
from scipy import stats

from selfie_jax.experiments import statistics

SELFIE = [52.1, 53.0, 51.7, 52.6, 53.4]
SUPERVISED = [50.2, 51.9, 49.8, 50.6]


def test_means_deviations_and_differences(tmp_path):
  """By hand: the seeds are half a point apart, Selfie two points ahead."""
  plan = made_up_runs.plan(workdir=str(tmp_path), seeds=(3, 3))
  results = made_up_runs.finish_all(plan)
  compared = statistics.compare(plan, results.table())
  assert [*compared.kind] == ['supervised', 'Selfie'] * 2
  assert [*compared['count']] == [3] * 4
  # 40 + 20 * the fraction, and the seeds 0, 0.5 and 1.
  np.testing.assert_allclose(compared['mean'], [41.5, 43.5, 42.1, 44.1])
  np.testing.assert_allclose(compared['std'], 0.5)  # of the sample: n - 1
  np.testing.assert_allclose(compared.ahead[[1, 3]], 2)
  # t(0.975, 4) = 2.776, times the root of 2 * 0.25 / 3.
  np.testing.assert_allclose(compared.low[1], 2 - 1.1334, atol=1e-4)
  np.testing.assert_allclose(compared.high[1], 2 + 1.1334, atol=1e-4)
  assert [*compared.paper] == [75.9, 75.9, 79.3, 80.3]
  np.testing.assert_allclose(compared.paper_ahead[[1, 3]], [0, 1])
  assert compared.ahead[[0, 2]].isna().all()


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
  assert np.isnan(statistics.welch_interval(ours, others)).all()

"""Means, Welch's interval, and the choice of learning rates."""

import dataclasses
import json
import pathlib

import made_up_runs
import numpy as np
import pytest
from scipy import stats

from selfie_jax import errors
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import statistics
from selfie_jax.storage import run_metadata

SELFIE = [52.1, 53.0, 51.7, 52.6, 53.4]
SUPERVISED = [50.2, 51.9, 49.8, 50.6]


def test_runs_from_one_pretraining_count_once(tmp_path):
  plan = made_up_runs.digits_plan(tmp_path, pretrain_seeds=3)
  starts = plan.pretrainings()
  for start in starts[:2]:
    made_up_runs.finish(start)
  with pytest.raises(errors.UserError, match='start1 have the same weights'):
    results_lib.read(plan)
  for i, start in enumerate(starts):
    made_up_runs.finish(start, weights=f'ab{i}')
  cells = plan.cells()
  selfie = [job for job in cells if job.arm == 'selfie']
  assert len(cells) == 2 + len(selfie) == 2 + 3 * 2
  assert [job.start for job in selfie] == starts * 2
  for job, value in zip(selfie, (0.5, 0.6, 0.7, 0.7, 0.8, 0.9), strict=True):
    made_up_runs.finish(job)
    set_accuracy(job, test_accuracy=value)
  row = statistics.compare(plan, results_lib.read(plan)).iloc[1]
  # The means of two runs each: 60, 70 and 80 %.
  assert row['count'] == 6
  assert row[['mean', 'std']].tolist() == pytest.approx([70, 10])


def test_interval_is_welchs():
  low, high = statistics.welch_interval(SELFIE, SUPERVISED)
  # Welch, 1947: t quantile with Satterthwaite's degrees of freedom.
  a, b = np.var(SELFIE, ddof=1) / 5, np.var(SUPERVISED, ddof=1) / 4
  freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 3)
  reach = stats.t.ppf(0.975, freedom) * np.sqrt(a + b)
  difference = np.mean(SELFIE) - np.mean(SUPERVISED)
  assert (low, high) == pytest.approx((difference - reach, difference + reach))
  assert np.isnan(statistics.welch_interval([1.0], [1.0, 2.0])).all()


@pytest.fixture
def plan(tmp_path):
  return made_up_runs.plan(
    fractions=(0.05,),
    seeds=(2,),
    tune_seeds=(1,),
    grid=(0.03, 0.1, 0.3),
    workdir=str(tmp_path),
  )


@pytest.fixture
def tried(plan):
  """The tuning's jobs, finished; the first three are of one group."""
  made_up_runs.finish_all(plan, 'pretrain', 'tune')
  return plan.tunings()


def choose(plan, path=None):
  """The chosen rate of each arm."""
  chosen = statistics.choose_rates(plan, results_lib.read(plan, path))
  return {arm: rate for (arm, _, _), rate in chosen.items()}


def set_accuracy(job, **metrics):
  path = pathlib.Path(job.folder) / 'results.json'
  results = json.loads(path.read_text())
  path.write_text(json.dumps(results | {'metrics': metrics}))


def end(job, code):
  """The run has failed."""
  (pathlib.Path(job.folder) / 'results.json').unlink(missing_ok=True)
  run_metadata.note_failure(job.folder, code, 'the loss is not finite')


def test_validation_accuracy_decides_and_not_the_test(plan, tried):
  set_accuracy(tried[2], test_accuracy=0.9, validation_accuracy=0.1)
  assert choose(plan) == {'supervised': 0.1, 'selfie': 0.1}
  set_accuracy(tried[2], test_accuracy=0.0, validation_accuracy=0.9)
  assert choose(plan) == {'supervised': 0.3, 'selfie': 0.1}
  for job in tried:
    set_accuracy(job, validation_accuracy=0.5)
  assert set(choose(plan).values()) == {0.03}  # the lower of equals
  plan = dataclasses.replace(plan, tune_seeds=(2,))
  made_up_runs.finish_all(plan, 'pretrain', 'tune')
  one, other = (job for job in plan.tunings()[:6] if job.rate == 0.3)
  set_accuracy(one, validation_accuracy=0.9)
  set_accuracy(other, validation_accuracy=0.1)
  assert choose(plan)['supervised'] == 0.3  # 0.5 on average


def test_no_choice_before_the_grid_has_ended(plan, tried):
  end(tried[0], code=1)  # it is run again
  assert choose(plan) == {'selfie': 0.1}
  for job in tried[:3]:
    end(job, code=3)  # all of one arm have diverged
  assert choose(plan) == {'selfie': 0.1}


def test_rate_that_diverges_loses_and_is_not_tried_again(plan, tried, tmp_path):
  end(tried[1], code=3)
  path = tmp_path / 'runs.jsonl'
  results_lib.save(results_lib.read(plan), path)
  fresh = dataclasses.replace(plan, workdir=str(tmp_path / 'new'))
  runs = results_lib.read(fresh, path)
  assert runs[runs.stage == 'tune'].ended.all()
  assert choose(plan)['supervised'] == choose(fresh, path)['supervised'] == 0.03


@pytest.mark.parametrize('place', ['work', 'results'])
def test_cells_wait_for_a_wider_grid_and_are_kept(plan, place, tmp_path):
  """They have a rate that no config has by default."""
  plan = dataclasses.replace(plan, grid=(0.2, 0.3))
  path = tmp_path / 'runs.jsonl'
  results_lib.save(made_up_runs.finish_all(plan), path)
  wider = dataclasses.replace(plan, grid=(0.2, 0.3, 0.4))
  if place == 'results':
    wider = dataclasses.replace(wider, workdir=str(tmp_path / 'new'))
  cells = results_lib.read(wider, path).query('stage == "cell"')
  assert len(cells) == 4 and cells.needs_rate.all() and not cells.ended.any()
  for job in wider.tunings():
    made_up_runs.finish(job)
  cells = results_lib.read(wider, path).query('stage == "cell"')
  assert cells.finished.all() and set(cells.rate) == {0.2}

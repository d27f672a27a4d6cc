"""Learning rates are chosen on the validation part, for both arms alike."""

import json

import made_up_runs
import pytest

from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import tuning

GRID = (0.03, 0.1, 0.3)


@pytest.fixture
def plan():
  return made_up_runs.plan(fractions=(0.05,), seeds=(2,), grid=GRID)


@pytest.fixture
def folders(plan, tmp_path):
  made = results_lib.Folders(plan, tmp_path)
  for job in plan.tunings():
    made_up_runs.finish(made, job)
  return made


def set_accuracy(folders, job, **metrics):
  path = folders.run(job) / 'results.json'
  results = json.loads(path.read_text())
  results['metrics'] |= metrics
  path.write_text(json.dumps(results))


def diverge(folders, job):
  (folders.run(job) / 'results.json').unlink()
  line = 'the loss (nan) or its gradient (norm nan) is not finite at step 3'
  (folders.run(job) / results_lib.FAILED).write_text(line)


def test_validation_accuracy_decides_and_not_the_test(plan, folders):
  high = plan.tunings()[2]
  set_accuracy(folders, high, test_accuracy=0.99)
  assert set(tuning.choose(plan, folders).values()) == {0.1}
  set_accuracy(folders, high, test_accuracy=0.0, validation_accuracy=0.9)
  assert tuning.choose(plan, folders)[high.key] == 0.3
  assert tuning.accuracies(plan, folders)[high.key][0.3] == 0.9


def test_mean_over_the_seeds_decides(tmp_path):
  plan = made_up_runs.plan(
    fractions=(0.05,), seeds=(2,), grid=GRID, tune_seeds=(2,)
  )
  folders = results_lib.Folders(plan, tmp_path)
  for job in plan.tunings():
    made_up_runs.finish(folders, job)
  one, other = (job for job in plan.tunings()[:6] if 'rate0.3' in job.name)
  set_accuracy(folders, one, validation_accuracy=0.9)
  set_accuracy(folders, other, validation_accuracy=0.1)
  assert tuning.accuracies(plan, folders)[one.key][0.3] == 0.5
  assert tuning.choose(plan, folders)[one.key] == 0.3
  set_accuracy(folders, one, validation_accuracy=0.5)
  assert tuning.choose(plan, folders)[one.key] == 0.1
  (folders.run(other) / 'results.json').unlink()
  assert one.key not in tuning.choose(plan, folders)


def test_lower_of_two_equals(plan, folders):
  for job in plan.tunings():
    set_accuracy(folders, job, validation_accuracy=0.5)
  assert set(tuning.choose(plan, folders).values()) == {0.03}


def test_no_choice_before_the_grid_is_finished(plan, folders):
  job = plan.tunings()[0]
  (folders.run(job) / 'results.json').unlink()
  chosen = tuning.choose(plan, folders)
  assert job.key not in chosen and len(chosen) == 1


def test_rate_that_diverges_loses_and_is_not_tried_again(
  plan, folders, tmp_path
):
  best = plan.tunings()[1]
  diverge(folders, best)
  assert folders.is_done(best)
  assert tuning.choose(plan, folders)[best.key] == 0.03
  kept = results_lib.Folders(plan, tmp_path, tmp_path / 'results')
  kept.gather(best)
  fresh = results_lib.Folders(plan, tmp_path / 'new', tmp_path / 'results')
  assert fresh.is_done(best) and fresh.outcome(best).diverged


def test_no_choice_where_all_diverge(plan, folders):
  for job in plan.tunings()[:3]:
    diverge(folders, job)
  assert plan.tunings()[0].key not in tuning.choose(plan, folders)


def test_nothing_is_there_before_a_run_has_ended(plan, tmp_path):
  folders = results_lib.Folders(plan, tmp_path / 'empty')
  assert tuning.accuracies(plan, folders) == {}


def test_nothing_is_chosen_without_a_grid(tmp_path):
  plan = made_up_runs.plan()
  assert tuning.choose(plan, results_lib.Folders(plan, tmp_path)) is None

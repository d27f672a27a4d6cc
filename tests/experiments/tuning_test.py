"""Learning rates are chosen on the validation part, for both arms alike."""

import dataclasses
import json
import pathlib

import made_up_runs
import pytest

from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import tuning

GRID = (0.03, 0.1, 0.3)


@pytest.fixture
def plan(tmp_path):
  return made_up_runs.plan(
    fractions=(0.05,),
    seeds=(2,),
    tune_seeds=(1,),
    grid=GRID,
    workdir=str(tmp_path),
  )


@pytest.fixture
def tried(plan):
  """The tuning's jobs, finished."""
  for job in [*plan.pretrainings(), *plan.tunings()]:
    made_up_runs.finish(job)
  return plan.tunings()


def key(job):
  return job.arm, job.network, job.fraction


def table(plan, results=None):
  runs = results_lib.Results(plan, results).table()
  return runs[runs.stage != 'cell']


def choose(plan, results=None):
  return tuning.choose(plan, table(plan, results))


def set_accuracy(job, **metrics):
  path = pathlib.Path(job.folder) / 'results.json'
  results = json.loads(path.read_text())
  results['metrics'] |= metrics
  path.write_text(json.dumps(results))


def unfinish(job):
  (pathlib.Path(job.folder) / 'results.json').unlink()


def diverge(job):
  unfinish(job)
  results_lib.fail(job, 3, 'the loss (nan) is not finite at step 3')


def test_validation_accuracy_decides_and_not_the_test(plan, tried):
  high = tried[2]
  set_accuracy(high, test_accuracy=0.99)
  assert set(choose(plan).values()) == {0.1}
  set_accuracy(high, test_accuracy=0.0, validation_accuracy=0.9)
  assert choose(plan)[key(high)] == 0.3
  assert tuning.accuracies(table(plan))[*key(high), 0.3] == 0.9


def test_mean_over_the_seeds_decides(plan):
  plan = dataclasses.replace(plan, tune_seeds=(2,))
  for job in plan.tunings():
    made_up_runs.finish(job)
  one, other = (job for job in plan.tunings()[:6] if job.rate == 0.3)
  set_accuracy(one, validation_accuracy=0.9)
  set_accuracy(other, validation_accuracy=0.1)
  assert tuning.accuracies(table(plan))[*key(one), 0.3] == 0.5
  assert choose(plan)[key(one)] == 0.3
  set_accuracy(one, validation_accuracy=0.5)
  assert choose(plan)[key(one)] == 0.1
  unfinish(other)
  assert key(one) not in choose(plan)


def test_lower_of_two_equals(plan, tried):
  for job in tried:
    set_accuracy(job, validation_accuracy=0.5)
  assert set(choose(plan).values()) == {0.03}


def test_no_choice_before_the_grid_is_finished(plan, tried):
  unfinish(tried[0])
  chosen = choose(plan)
  assert key(tried[0]) not in chosen and len(chosen) == 1


def test_rate_that_diverges_loses_and_is_not_tried_again(plan, tried, tmp_path):
  best = tried[1]
  diverge(best)
  assert choose(plan)[key(best)] == 0.03
  kept = results_lib.Results(plan, tmp_path / 'results')
  for job in plan.pretrainings() + tried:
    kept.store(job)
  fresh = dataclasses.replace(plan, workdir=str(tmp_path / 'new'))
  runs = table(fresh, tmp_path / 'results')
  assert runs.ended.all()
  assert runs[~runs.finished].name.tolist() == [best.name]
  assert choose(fresh, tmp_path / 'results')[key(best)] == 0.03


def test_other_failures_are_tried_again(plan, tried):
  unfinish(tried[1])
  results_lib.fail(tried[1], 1, 'no room')
  assert not table(plan).ended.all() and key(tried[1]) not in choose(plan)


def test_no_choice_where_all_diverge(plan, tried):
  for job in tried[:3]:
    diverge(job)
  assert key(tried[0]) not in choose(plan)


def test_nothing_is_there_before_a_run_has_ended(plan):
  assert tuning.accuracies(table(plan)).empty and choose(plan) == {}


def test_nothing_is_chosen_without_a_grid(tmp_path):
  assert choose(made_up_runs.plan(workdir=str(tmp_path))) == {}


@pytest.mark.parametrize('place', ['work', 'results'])
def test_cells_wait_for_a_wider_grid_and_are_kept(plan, place, tmp_path):
  """They have a rate that no config has by default."""
  plan = dataclasses.replace(plan, grid=(0.2, 0.3))
  made_up_runs.finish_all(plan)
  runs = results_lib.Results(plan, tmp_path / 'results')
  for job in runs.table().job:
    runs.store(job)
  wider = dataclasses.replace(plan, grid=(0.2, 0.3, 0.4))
  if place == 'results':
    wider = dataclasses.replace(wider, workdir=str(tmp_path / 'new'))
  runs = results_lib.Results(wider, tmp_path / 'results')
  cells = runs.table().query('stage == "cell"')
  assert len(cells) == 4 and cells.waits.all() and not cells.ended.any()
  for job in wider.tunings():
    made_up_runs.finish(job)
  cells = runs.table().query('stage == "cell"')
  assert cells.finished.all() and set(cells.rate) == {0.2}

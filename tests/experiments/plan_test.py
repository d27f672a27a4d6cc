"""The jobs of every experiment: how many, their names, and that they work."""

import collections
import itertools

import made_up_runs
import pytest

from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.storage import run_metadata

GRID = (0.03, 0.1, 0.3)


def whole_plan(name, variant='', **changed):
  fractions = plan_lib.EXPERIMENTS[name].fractions
  seeds = (5,) * len(fractions)
  ones = (1,) * len(fractions)
  return plan_lib.Plan(name, variant, fractions, seeds, ones, **changed)


def key(job):
  return job.arm, job.network, job.fraction


def all_jobs(plan):
  return plan.pretrainings() + plan.tunings() + plan.cells()


@pytest.mark.parametrize(
  'name, variant',
  [*itertools.product(plan_lib.EXPERIMENTS, ['', 'small', 'tiny'])],
)
def test_every_job_is_valid_and_has_a_folder_of_its_own(name, variant):
  jobs = all_jobs(whole_plan(name, variant, grid=GRID))
  assert len({job.name for job in jobs}) == len(jobs)
  assert len({job.folder for job in jobs}) == len(jobs)
  starts = {job for job in jobs if job.stage == 'pretrain'}
  for job in jobs:
    config = job.config()  # as main.py checks it
    assert config['mode'] == 'finetune' if job.arm else 'pretrain'
    assert (job.start in starts) == (job.arm == 'selfie')
    assert job.name.replace('.', '').replace('-', '').replace('_', '').isalnum()


@pytest.mark.parametrize('name, spec', plan_lib.EXPERIMENTS.items())
def test_number_of_jobs(name, spec):
  """Five seeds and three rates; every published number has its cells."""
  plan = whole_plan(name, grid=GRID)
  cells = [job for job in plan.cells() if not job.choice]
  kinds = len(spec.fractions) * len(spec.groups)
  assert (len(cells), len(plan.tunings())) == (5 * kinds, 3 * kinds)
  assert spec.is_ablation or len(plan.pretrainings()) == 1
  assert not spec.paper or {key(job) for job in cells} == set(spec.published)


def test_published_numbers_are_those_of_the_paper():
  """Some of tables 1 and 2, looked up by hand."""
  labels = plan_lib.EXPERIMENTS['cifar_labels'].published
  assert labels['supervised', 'resnet50', 0.05] == (75.9, 0.7)
  assert labels['selfie', 'resnet50', 0.2] == (89.1, 0.5)
  large = plan_lib.EXPERIMENTS['imagenet_labels'].published
  assert large['supervised', 'resnet50', 0.05] == (35.6, 0.7)
  assert large['selfie', 'resnet50', 1.0] == (77.0, 0.1)
  small = plan_lib.EXPERIMENTS['imagenet32_labels'].published
  assert small['selfie', 'resnet50', 0.1] == (30.2, 0.5)
  attention = plan_lib.EXPERIMENTS['imagenet_attention'].published
  assert attention['selfie', 'resnet36_attention', 0.1] == (62.1, 0.2)
  assert not plan_lib.EXPERIMENTS['cifar_ablations'].published


def test_as_many_runs_as_asked_for():
  plan = made_up_runs.plan(
    fractions=(0.05, 1.0), seeds=(3, 1), grid=GRID, tune_seeds=(3, 1)
  )
  cells = [job.fraction for job in plan.cells() if job.arm == 'selfie']
  assert cells == [0.05, 1.0, 0.05, 0.05]  # seed by seed
  tried = collections.Counter(
    (key(job), job.name[-7:]) for job in plan.tunings()
  )
  assert {each[2]: count for (each, _), count in tried.items()} == {
    0.05: 3,
    1.0: 1,
  }
  assert len({job.name for job in plan.tunings()}) == sum(tried.values())


def test_arms_differ_in_the_start_alone():
  plan = whole_plan('cifar_labels', grid=GRID)
  for jobs in (plan.cells(), plan.tunings()):
    arms = [
      {
        (job.file, tuple(f for f in job.fields if f[0] != 'init_from'))
        for job in jobs
        if job.arm == arm and job.fraction == 0.08
      }
      for arm in ('supervised', 'selfie')
    ]
    assert arms[0] == arms[1]


def test_tuning_runs_are_no_runs_of_the_report():
  plan = whole_plan('cifar_labels', grid=GRID)
  assert not {j.seed for j in plan.tunings()} & {j.seed for j in plan.cells()}
  rates = {key(job): 0.3 for job in plan.cells() if job.fraction == 0.05}
  cells = [job for job in plan.cells(rates) if not job.needs_rate]
  assert {key(job) for job in cells} == set(rates)
  assert {dict(j.fields)['optimizer.learning_rate'] for j in cells} == {'0.3'}


@pytest.mark.parametrize('variant', ['', 'small'])
def test_ablation_changes_one_field_of_the_pretraining(variant):
  plan = whole_plan('cifar_ablations', variant)
  default, *others = (job.config() for job in plan.pretrainings())
  tried = []
  for config in others:
    ((field, values),) = run_metadata.differences(default, config).items()
    tried.append((field, values[1]))
  every = {(f, v) for f, vs in plan_lib.CHOICES.items() for v in vs}
  assert set(tried) == {(f, v) for f, v in every if default[f] != v}
  assert len(plan.cells()) == 5 * (1 + len(others))
  for cell in plan.cells():
    changed = cell.name.partition(f'_seed{cell.seed}')[2]
    assert cell.start.name == f'pretrain{changed}'


def test_overrides_reach_both_arms():
  plan = made_up_runs.plan(
    grid=GRID,
    fields=(('total_steps', '7'),),
    pretrain_fields=(('total_steps', '9'),),
  )
  for job in all_jobs(plan):
    assert job.config()['total_steps'] == (9 if job.stage == 'pretrain' else 7)


@pytest.mark.parametrize(
  'field', ['seed', 'init_from', 'label_fraction', 'optimizer.learning_rate']
)
def test_fields_of_the_experiment_cannot_be_set(field):
  with pytest.raises(errors.UserError, match='--seeds=5'):
    made_up_runs.plan(grid=GRID, fields=((field, '1'),))

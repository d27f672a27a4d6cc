"""The jobs of every experiment: how many, their names, and that they work."""

import collections

import made_up_runs
import pytest

from selfie_jax import job_flags
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.storage import run_metadata

GRID = (0.03, 0.1, 0.3)


def whole_plan(name, variant='', **changed):
  fractions = plan_lib.EXPERIMENTS[name].fractions
  seeds = (5,) * len(fractions)
  ones = (1,) * len(fractions)
  if name.startswith('photos'):  # whose jobs have no images of their own
    for fields in ('fields', 'pretrain_fields'):
      changed[fields] = (('dataset.path', 'photos.csv'),)
  return plan_lib.Plan(name, variant, fractions, seeds, ones, **changed)


def key(job):
  return job.arm, job.network, job.fraction


def config_of(job):
  return job_flags.read_flat(job.file, job.fields)  # as main.py checks it


@pytest.mark.parametrize('name, spec', plan_lib.EXPERIMENTS.items())
def test_every_job_is_valid_and_has_a_folder_of_its_own(name, spec):
  for variant in ('', 'small', 'tiny'):
    plan = whole_plan(name, variant, grid=GRID)
    starts, tunings, cells = plan.pretrainings(), plan.tunings(), plan.cells()
    kinds = len(spec.fractions) * len(spec.groups)
    default = [job for job in cells if not job.choice]
    assert (len(default), len(tunings)) == (5 * kinds, 3 * kinds)
    assert spec.is_ablation or len(starts) == 1
    # Every published number has its cells.
    assert not spec.paper or {key(job) for job in cells} == set(spec.published)
    jobs = starts + tunings + cells
    assert len({job.name for job in jobs}) == len(jobs)
    assert len({job.folder for job in jobs}) == len(jobs)
    for job in jobs:
      mode = 'finetune' if job.arm else 'pretrain'
      assert config_of(job)['mode'] == mode
      assert (job.start in starts) == (job.arm == 'selfie')
      assert job.name.translate(dict.fromkeys(map(ord, '.-_'))).isalnum()


def test_published_numbers_are_those_of_the_paper():
  """Some of tables 1 and 2, looked up by hand."""
  for name, group, published in (
    ('cifar_labels', ('supervised', 'resnet50', 0.05), (75.9, 0.7)),
    ('cifar_labels', ('selfie', 'resnet50', 0.2), (89.1, 0.5)),
    ('imagenet_labels', ('selfie', 'resnet50', 1.0), (77.0, 0.1)),
    ('imagenet32_labels', ('selfie', 'resnet50', 0.1), (30.2, 0.5)),
    ('imagenet_attention', ('selfie', 'resnet36_attention', 0.1), (62.1, 0.2)),
  ):
    assert plan_lib.EXPERIMENTS[name].published[group] == published


def test_as_many_runs_as_asked_for_and_tuning_has_seeds_of_its_own():
  plan = made_up_runs.plan(
    fractions=(0.05, 1.0), seeds=(3, 1), grid=GRID, tune_seeds=(3, 1)
  )
  cells = [job.fraction for job in plan.cells() if job.arm == 'selfie']
  assert cells == [0.05, 1.0, 0.05, 0.05]  # seed by seed
  tried = collections.Counter((*key(job), job.rate) for job in plan.tunings())
  counts = sorted((each[2], count) for each, count in tried.items())
  assert counts == [(0.05, 3)] * 6 + [(1.0, 1)] * 6
  assert not {j.seed for j in plan.tunings()} & {j.seed for j in plan.cells()}


def test_arms_differ_in_the_start_and_the_chosen_rate_alone():
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
  rates = {key(job): 0.3 for job in plan.cells() if job.fraction == 0.05}
  cells = [job for job in plan.cells(rates) if not job.needs_rate]
  assert {key(job) for job in cells} == set(rates)
  assert {dict(j.fields)['optimizer.learning_rate'] for j in cells} == {'0.3'}


def test_ablation_changes_one_field_of_the_pretraining():
  plan = whole_plan('cifar_ablations', 'small')
  default, *others = map(config_of, plan.pretrainings())
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

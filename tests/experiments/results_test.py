"""Finished runs are known and stored; runs of another recipe are refused."""

import dataclasses
import json
import pathlib
import shutil

import made_up_runs
import pytest

from selfie_jax import errors
from selfie_jax.experiments import results as results_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


@pytest.fixture
def plan(tmp_path):
  return made_up_runs.plan(workdir=str(tmp_path / 'work'))


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'results' / 'runs.jsonl'


@pytest.fixture
def jobs(plan, path):
  """A finished pretraining and a finished cell of each arm, stored."""
  made = [*plan.pretrainings(), *plan.cells()[:2]]
  for job in made:
    made_up_runs.finish(job)
  results_lib.save(results_lib.read(plan), path)
  return made


def finished(plan, path=None):
  """Names of the runs that count as finished."""
  runs = results_lib.read(plan, path)
  return [*runs.name[runs.finished]]


def stored(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_is_whole_and_names_no_path(jobs, path, tmp_path):
  start, _, selfie = stored(path)
  assert str(tmp_path) not in path.read_text()
  names = 'name stage arm network fraction seed choice'.split()
  assert [selfie[name] for name in names] == [
    *('selfie_resnet50_5pct_seed0', 'cell', 'selfie', 'resnet50'),
    *(0.05, 0, ''),
  ]
  assert selfie['config']['model.width'] == 4
  assert not {'init_from', 'dataset.path'} & set(selfie['config'])
  assert selfie['pretraining'] == start['weights'] == 'ab12'
  assert selfie['metrics']['test_accuracy'] == made_up_runs.accuracy(jobs[2])
  assert selfie['devices']['count'] == 2 and selfie['versions']['jax']


@pytest.mark.parametrize('place', ['work', 'results'])
def test_another_recipe_is_refused(place, plan, jobs, path, tmp_path):
  shutil.rmtree(tmp_path / ('results' if place == 'work' else 'work'))
  for job, field in zip(jobs, ('pretrain_fields', 'fields'), strict=False):
    other = dataclasses.replace(plan, **{field: (('total_steps', '20'),)})
    says = rf'{job.name} .*total_steps \(12 -> 20\)'
    with pytest.raises(errors.UserError, match=says):
      results_lib.read(other, path)


@pytest.mark.parametrize('place', ['work', 'results'])
def test_runs_on_other_images_are_refused(place, plan, jobs, path, tmp_path):
  """By the name of the set, and by what two runs say of their images."""
  shutil.rmtree(tmp_path / ('results' if place == 'work' else 'work'))
  own = (('dataset.name', 'folder'), ('dataset.path', 'photos/cats'))
  other = dataclasses.replace(plan, fields=own)
  photos = dataclasses.replace(other, pretrain_fields=own)
  for changed in (other, photos):
    with pytest.raises(errors.UserError, match=r'images \(cifar10 -> cats\)'):
      results_lib.read(changed, path)
  added = plan.cells()[2]
  data = {'train': {'images': 8, 'labels': 'cd34', 'sizes': 'ef56'}}
  (made_up_runs.finish(added) / 'data.json').write_text(json.dumps(data))
  says = f'{jobs[1].name} and {added.name} are .* other images .train labels'
  with pytest.raises(errors.UserError, match=says):
    results_lib.read(plan, path)


def test_fields_come_and_gone_keep_no_run_from_being_used(plan, jobs, path):
  """Wherever it is, and whatever of other plans is beside it."""
  rows = stored(path)
  for row in rows:
    row['config']['puzzle.gap'] = 0  # retired, and neutral
    for field in run_metadata.DEFAULTS_FOR_OLD_RUNS:
      row['config'].pop(field, None)
  rows.append({'name': 'of another plan'})
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  made_up_runs.finish(plan.cells()[2])
  results_lib.save(results_lib.read(plan, path), path)
  assert stored(path)[:4] == rows and len(stored(path)) == 5
  names = [job.name for job in jobs]
  fresh = dataclasses.replace(plan, workdir='new')
  assert finished(fresh, path)[:3] == names
  moved = pathlib.Path(plan.workdir).rename(path.parent / 'moved')
  moved = dataclasses.replace(plan, workdir=str(moved))
  assert finished(moved)[:3] == names


@pytest.mark.parametrize('place', ['work', 'results'])
def test_cells_of_another_start_are_refused(place, plan, jobs, path, tmp_path):
  """Known by its weights, wherever it is and whatever it is called."""
  shutil.rmtree(tmp_path / ('results' if place == 'work' else 'work'))
  made_up_runs.finish(*plan.pretrainings(), weights='cd34')  # done again
  with pytest.raises(errors.UserError, match=r'pretraining.*ab12.*cd34'):
    finished(plan, path)
  made_up_runs.finish(*plan.pretrainings(), weights='ab12')  # the very same
  assert len(finished(plan, path)) == 3


def test_given_pretraining_is_that_of_the_results(plan, jobs, path, tmp_path):
  steps = (('total_steps', '20'),)
  longer = dataclasses.replace(
    plan, pretrain_fields=steps, workdir=str(tmp_path / 'long')
  )
  given = str(made_up_runs.finish(*longer.pretrainings(), weights='cd34'))
  mixed = dataclasses.replace(plan, workdir='new', pretrained=given)
  assert mixed.pretrainings()[0].folder == given
  with pytest.raises(errors.UserError, match=r'pretraining \(ab12 -> cd34\)'):
    finished(mixed, path)
  own = tmp_path / 'own.jsonl'
  results_lib.save(results_lib.read(mixed, own), own)
  with pytest.raises(errors.UserError, match='total_steps'):
    finished(plan, own)
  with pytest.raises(errors.UserError, match='--pretrained='):
    finished(dataclasses.replace(plan, pretrained=jobs[1].folder))


def test_stored_cells_of_another_pretraining_are_refused(
  plan, jobs, path, tmp_path
):
  """In a clone too, which has no pretraining."""
  clone = dataclasses.replace(plan, workdir=str(tmp_path / 'clone'))
  assert len(finished(clone, path)) == len(finished(plan, path))
  stored = path.read_text()
  at = stored.index('"pretraining": "ab12"')
  path.write_text(stored[:at] + stored[at:].replace('ab12', 'dead', 1))
  with pytest.raises(errors.UserError, match=r'pretraining \(dead -> ab12\)'):
    finished(clone, path)


def test_a_given_pretraining_is_of_the_recipe_of_those_beside_it(tmp_path):
  """The only one may be of any, but for what was asked for."""
  seed = (('seed', '1'),)
  other = made_up_runs.plan(
    pretrain_fields=seed + (('total_steps', '20'),), workdir=str(tmp_path)
  )
  given = str(made_up_runs.finish(*other.pretrainings()))

  def read(experiment='cifar_labels', **changed):
    plan = made_up_runs.plan(experiment, pretrained=given, **changed)
    return finished(dataclasses.replace(plan, workdir='new'))

  assert read() == ['pretrain']
  for changed, says in (
    ({'pretrain_fields': (('total_steps', '12'),)}, r'total_steps \(20 -> 12'),
    ({'pretrain_seeds': 2}, r'seed \(1 -> 0\), total_steps \(20 -> 12\)\.'),
    ({'experiment': 'cifar_ablations'}, r'config: total_steps \(20 -> 12\)\.'),
  ):
    with pytest.raises(errors.UserError, match=says):
      read(**changed)


def test_damaged_results_are_named(plan, jobs, path, monkeypatch):
  results = pathlib.Path(jobs[1].folder) / 'results.json'
  results.write_text('{"mode": ')
  with pytest.raises(errors.UserError, match=f'{results} is damaged'):
    finished(plan)
  lines = path.read_text().splitlines()
  other = lines[1].replace('"test_accuracy": ', '"test_accuracy": 1')
  assert other != lines[1]
  for wrong in (lines[2][:-9], '<<<<<<< HEAD', '5', other):
    path.write_text('\n'.join([*lines[:2], wrong]))
    with pytest.raises(errors.UserError, match=f'{path} is damaged in line 3'):
      finished(plan, path)
  path.unlink()
  path.symlink_to('/proc/self/mem')  # reading byte 0 is a real EIO
  monkeypatch.setattr(workdir_lib, 'PAUSES', ())
  with pytest.raises(errors.MayPass):  # else the stored runs would be lost
    finished(plan, path)

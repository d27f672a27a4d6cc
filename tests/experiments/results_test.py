"""Finished runs are found and kept; runs of another recipe are refused."""

import json
import pathlib
import shutil

import made_up_runs
import pytest

from selfie_jax import errors
from selfie_jax.experiments import recipes
from selfie_jax.experiments import results as results_lib


@pytest.fixture
def plan():
  return made_up_runs.plan()


@pytest.fixture
def folders(plan, tmp_path):
  """With a finished pretraining and a finished cell of each arm, gathered."""
  made = results_lib.Folders(plan, tmp_path / 'work', tmp_path / 'results')
  for job in plan.pretrainings() + plan.cells()[:2]:
    made_up_runs.finish(made, job)
    made.gather(job)
  return made


def test_gathered_runs_are_finished_in_a_fresh_clone(plan, folders, tmp_path):
  before = {job: folders.outcome(job) for job in plan.cells()[:2]}
  shutil.rmtree(tmp_path / 'work')
  elsewhere = results_lib.Folders(plan, tmp_path / 'new', tmp_path / 'results')
  assert [elsewhere.is_done(j) for j in plan.cells()[:3]] == [True, True, False]
  for job, outcome in before.items():
    assert (
      elsewhere.outcome(job).results['metrics'] == outcome.results['metrics']
    )
    assert elsewhere.outcome(job).history == outcome.history
  (start,) = plan.pretrainings()
  assert elsewhere.is_done(start) and not elsewhere.has_weights(start)
  assert folders.results.name == 'cifar_labels_tiny'
  elsewhere.check(plan.pretrainings() + plan.cells())


def test_gathered_folder_is_small_and_names_no_place(plan, folders, tmp_path):
  files = sorted(p.name for p in (tmp_path / 'results').rglob('*.*'))
  assert set(files) == {'config.json', 'history.json', 'results.json'}
  for path in (tmp_path / 'results').rglob('*.json'):
    assert str(tmp_path) not in path.read_text()
  selfie = folders.results / plan.cells()[1].name
  assert json.loads((selfie / 'config.json').read_text())['init_from'] == (
    'pretrain'
  )
  rows = json.loads((selfie / 'history.json').read_text())
  assert [row['part'] for row in rows] == ['validation'] * 2


def test_nothing_is_gathered_without_results_folder(plan, tmp_path):
  folders = results_lib.Folders(plan, tmp_path)
  made_up_runs.finish(folders, plan.cells()[0])
  folders.gather(plan.cells()[0])
  assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize('place', ['work', 'results'])
@pytest.mark.parametrize('which', ['pretrain', 'cell'])
def test_another_recipe_is_refused(place, which, plan, folders, tmp_path):
  shutil.rmtree(tmp_path / ('results' if place == 'work' else 'work'))
  job = plan.pretrainings()[0] if which == 'pretrain' else plan.cells()[0]
  field = 'fields' if which == 'cell' else 'pretrain_fields'
  other = made_up_runs.plan(**{field: (('total_steps', '20'),)})
  changed = results_lib.Folders(other, tmp_path / 'work', tmp_path / 'results')
  with pytest.raises(errors.UserError) as error:
    changed.check(other.pretrainings() + other.cells())
  assert 'total_steps (12 -> 20)' in str(error.value)
  assert job.name in str(error.value) and '\n' not in str(error.value)


def test_fields_that_change_no_number_may_differ(folders, tmp_path):
  other = made_up_runs.plan(fields=(('keep_checkpoints', '1'),))
  changed = results_lib.Folders(other, tmp_path / 'work', tmp_path / 'results')
  changed.check(other.pretrainings() + other.cells())


def test_cells_of_another_pretraining_are_refused(plan, folders, tmp_path):
  other = tmp_path / 'other' / 'pretrain'
  shutil.copytree(tmp_path / 'work' / 'pretrain', other)
  given = results_lib.Folders(plan, tmp_path / 'work', pretrained=other)
  assert given.run(plan.pretrainings()[0]) == other
  with pytest.raises(errors.UserError, match='init_from'):
    given.check(plan.cells())


def test_cells_of_a_moved_workdir_are_ours(plan, folders, tmp_path):
  (tmp_path / 'work').rename(tmp_path / 'moved')
  moved = results_lib.Folders(plan, tmp_path / 'moved')
  moved.check(plan.pretrainings() + plan.cells())


def test_given_pretraining_has_to_be_that_of_the_results(
  plan, folders, tmp_path
):
  longer = made_up_runs.plan(pretrain_fields=(('total_steps', '20'),))
  elsewhere = results_lib.Folders(longer, tmp_path / 'long')
  given = made_up_runs.finish(elsewhere, longer.pretrainings()[0])
  work, results = tmp_path / 'new', tmp_path / 'results'
  mixed = results_lib.Folders(plan, work, results, given)
  with pytest.raises(errors.UserError, match='total_steps'):
    mixed.check(plan.pretrainings())
  # Into a results folder of its own it goes, and is told again there.
  own = results_lib.Folders(plan, work, tmp_path / 'own', given)
  own.check(plan.pretrainings())
  own.gather(plan.pretrainings()[0])
  with pytest.raises(errors.UserError, match='total_steps'):
    results_lib.Folders(plan, work, tmp_path / 'own').check(plan.pretrainings())


def test_no_pretraining_where_one_is_said_to_be(plan, folders, tmp_path):
  for wrong in (tmp_path, pathlib.Path(folders.run(plan.cells()[0]))):
    with pytest.raises(errors.UserError, match='--pretrained='):
      results_lib.Folders(plan, tmp_path / 'work', pretrained=wrong)


def test_damaged_results_are_named(plan, folders):
  path = folders.run(plan.cells()[0]) / 'results.json'
  path.write_text('{"mode": ')
  with pytest.raises(errors.UserError, match='damaged'):
    folders.outcome(plan.cells()[0])


def test_commands_are_those_of_main(plan, tmp_path, monkeypatch):
  monkeypatch.chdir(recipes.ROOT)
  folders = results_lib.Folders(plan, 'runs/x')
  assert folders.command(plan.cells()[1]) == (
    'python main.py --config=configs/cifar_finetune.py:tiny '
    '--workdir=runs/x/selfie_resnet50_5pct_seed0 '
    '--config.model.name=resnet50 --config.label_fraction=0.05 '
    '--config.seed=0 --config.init_from=runs/x/pretrain'
  )

"""What was changed by hand in a run's folder is not taken for the run's own."""

import json
import shutil
from unittest import mock

import jax
import pytest
import small_jobs

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import digits
from selfie_jax.inference import model as model_lib
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import train


@pytest.fixture
def half_done(finished, tmp_path):
  """A copy of a pretraining as it was after its first checkpoint."""
  folder = tmp_path / 'run'
  shutil.copytree(finished('pretrain'), folder)
  (folder / 'results.json').unlink()
  shutil.rmtree(folder / 'checkpoints' / '6')
  return folder


class Begun(Exception):
  """A run asks for its first batch."""


@pytest.fixture(autouse=True)
def first_batch(finished, monkeypatch):
  """Ends the runs of these tests before they compile anything."""
  finished('pretrain'), finished('finetune')

  def begin(*args, **kwargs):
    raise Begun

  monkeypatch.setattr(batches_lib, 'train_batches', begin)
  return monkeypatch


def run(folder, mode='pretrain', **fields):
  config = small_jobs.small_job(mode)
  config.update_from_flattened_dict(fields)
  return train.train_and_evaluate(config, folder)


def begins(folder, *args, **fields):
  with pytest.raises(Begun):
    run(folder, *args, **fields)


def refuses(says, folder, *args, **fields):
  before = sorted(folder.rglob('*'))
  with pytest.raises(errors.UserError, match=says):
    run(folder, *args, **fields)
  assert sorted(folder.rglob('*')) == before


def test_all_that_a_run_saves_has_its_identity(finished):
  folder = finished('finetune')
  identity = json.loads((folder / 'run.json').read_text())
  assert identity.keys() == {'config', 'data', 'jax', 'start'}
  assert identity['start'] == 'random'
  results = json.loads((folder / 'results.json').read_text())
  assert results['identity'] == identity
  for path in folder.glob('checkpoints/*/progress/metadata'):
    assert json.loads(path.read_text())['identity'] == identity


@pytest.mark.parametrize(
  'setting, value, says',
  [
    ('jax_default_prng_impl', 'rbg', 'impl=threefry2x32, and jax has .*=rbg'),
    ('jax_enable_x64', True, 'jax_enable_x64=False, and jax has .*=True'),
    ('jax_default_matmul_precision', 'bfloat16', '=None, and jax has .*=bf'),
  ],
)
def test_other_settings_of_jax_are_refused(half_done, setting, value, says):
  before = getattr(jax.config, setting)
  jax.config.update(setting, value)
  try:
    refuses(says, half_done)
  finally:
    jax.config.update(setting, before)
  begins(half_done)


def test_batch_norm_of_a_share_needs_as_many_devices(tmp_path, monkeypatch):
  share = {'model.sync_batch_norm': False}
  begins(tmp_path, **share)
  monkeypatch.setattr(jax, 'device_count', lambda: 4)
  refuses('with another number of devices', tmp_path, **share)


def test_a_tfds_set_of_the_same_size_in_another_order_is_refused(
  half_done, tmp_path, monkeypatch
):
  """As another version of the set may have it."""
  with monkeypatch.context() as patch:
    patch.setattr(digits, '_SPLIT_SEED', 1)
    other = {'dataset.data_dir': str(tmp_path / 'other')}
    refuses('other data: .*labels', half_done, **other)
  begins(half_done, **{'dataset.data_dir': str(tmp_path / 'same')})


def test_a_checkpoint_of_another_seed_is_refused(half_done):
  """As if copied there: another seed's differs in its numbers only."""
  config = small_jobs.small_job('pretrain')
  config.seed = 1
  other = identity_lib.identify(config, workdir_lib.run_path('/nowhere'))
  [path] = half_done.glob('checkpoints/3/progress/metadata')
  small_jobs.change_progress(
    path, lambda progress: progress['identity'].update(other)
  )
  says = 'checkpoints/3 is of a run with another config'
  refuses(says, half_done)
  with pytest.raises(errors.UserError, match=says):
    model_lib.load(half_done)


def test_the_best_checkpoint_has_to_be_the_runs_own_too(finished, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(finished('finetune'), folder)
  (folder / 'results.json').unlink()

  def make_first_best(progress):
    for row in progress['history']:
      if row['part'] == 'validation':
        row['accuracy'] = 1 / row['step']

  for step, change in (
    (6, make_first_best),
    (3, lambda progress: progress['identity'].update(data='other')),
  ):
    path = folder / f'checkpoints/{step}/progress/metadata'
    small_jobs.change_progress(path, change)
  refuses('checkpoints/3 is of a run with another data', folder, 'finetune')


def test_without_config_json_the_rest_says_which_run_it_is(half_done, finished):
  (half_done / 'config.json').unlink()
  rate = {'optimizer.learning_rate': 0.3}
  refuses('run.json is of a run with another config', half_done, **rate)
  (half_done / 'run.json').unlink()
  refuses('checkpoints/3 is of a run with another config', half_done, **rate)
  (half_done / 'data.json').unlink()
  begins(half_done)
  for name in ('config.json', 'data.json', 'run.json'):
    was, is_now = finished('pretrain') / name, half_done / name
    assert is_now.read_text() == was.read_text()


def test_an_edited_config_or_data_json_is_refused(half_done):
  for name, old, new, says in (
    ('config.json', '"seed": 0', '"seed": 1', r'seed \(1 -> 0\)'),
    ('data.json', '"images": 300', '"images": 299', 'another data'),
  ):
    text = (half_done / name).read_text()
    assert old in text
    (half_done / name).write_text(text.replace(old, new))
    refuses(says, half_done)
    if name == 'config.json':
      refuses('run.json is of a run with another config', half_done, seed=1)
    (half_done / name).write_text(text)


def test_a_finished_run_on_other_labels_is_refused(
  finished, tmp_path, first_batch, log_messages
):
  """And without the images it is still what it was; they are not fetched."""
  folder = tmp_path / 'run'
  shutil.copytree(finished('pretrain'), folder)
  data = json.loads((folder / 'data.json').read_text())
  data['train']['classes'][3] = 'wolf'
  (folder / 'data.json').write_text(json.dumps(data))
  refuses("holds a run on other data: train classes .*'wolf'", folder)
  gone = mock.Mock(side_effect=errors.UserError('they are gone'))
  first_batch.setattr(batches_lib, 'read_metadata', gone)
  shutil.copy(finished('pretrain') / 'data.json', folder)
  assert run(folder) == json.loads((folder / 'results.json').read_text())
  assert 'The images are not compared: they are gone' in log_messages.text
  assert not gone.call_args.args[0].dataset.download


def test_results_of_another_job_are_refused(finished, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(finished('finetune'), folder)
  rate = {'optimizer.learning_rate': 0.3}
  refuses('another config: .*learning_rate', folder, 'finetune', **rate)
  for name in ('config.json', 'run.json'):
    (folder / name).unlink()
  refuses('results.json is of a run with another config', folder)
  assert run(folder, 'finetune') == json.loads(
    (finished('finetune') / 'results.json').read_text()
  )


def test_runs_of_earlier_versions_are_known_by_config_json(
  half_done, finished, tmp_path, log_messages
):
  done = tmp_path / 'done'
  shutil.copytree(finished('pretrain'), done)
  for folder, name in ((half_done, 'checkpoints/3'), (done, 'results.json')):
    small_jobs.forget_identity(folder)
    config = (folder / 'config.json').read_text()
    (folder / 'config.json').unlink()
    refuses(f'{name} does not say of which run it is', folder)
    (folder / 'config.json').write_text(config)
  begins(half_done)
  assert 'Continuing from step 3 of 6' in log_messages.text
  run(done)
  assert f'{done} is finished' in log_messages.text


def test_weights_that_a_run_began_with_have_to_be_the_same(
  half_done, finished, tmp_path, log_messages
):
  """An unfinished pretraining goes on while its finetuning is killed.

  Once the finetuning is finished, that is said, and no error.
  """
  begun = {'init_from': str(half_done)}
  folder = tmp_path / 'finetuning'
  begins(folder, 'finetune', **begun)
  start = json.loads((folder / 'run.json').read_text())['start']
  assert start.startswith('step 3, weights ')
  assert 'its newest checkpoint is of step 3 of 6' in log_messages.text
  last = 'checkpoints/6'
  shutil.copytree(finished('pretrain') / last, half_done / last)
  refuses(
    f'was started from {start} .* now has step 6, weights .*--workdir=',
    folder,
    'finetune',
    **begun,
  )
  identity = json.loads((folder / 'run.json').read_text())
  results = folder / 'results.json'
  results.write_text(json.dumps({'identity': identity, 'mode': 'finetune'}))
  run(folder, 'finetune', **begun)
  assert f'began with {start}' in log_messages.text
  assert 'which has step 6, weights' in log_messages.text
  results.unlink()
  shutil.rmtree(half_done / last)
  begins(folder, 'finetune', **begun)
  assert json.loads((folder / 'run.json').read_text())['start'] == start

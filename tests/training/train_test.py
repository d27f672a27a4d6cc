"""Whole runs on the digits: what they leave and refuse, how they go on."""

import json

import numpy as np
from PIL import Image
import pytest
import small_jobs

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.storage import checkpoints
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import train

TASKS = ('pretrain', 'finetune')


class Interrupted(Exception):
  """Stands for whatever may end a process."""


@pytest.fixture
def config(request):
  return small_jobs.small_job(request.param)


def interrupt_after(monkeypatch, steps):
  """Makes the stream of the next run end its process after `steps` batches."""
  real = batches_lib.train_batches

  def broken(*args, **kwargs):
    for i, batch in enumerate(real(*args, **kwargs)):
      if i == steps:
        raise Interrupted
      yield batch

  monkeypatch.setattr(batches_lib, 'train_batches', broken)


@pytest.mark.parametrize('config', TASKS, indirect=True)
def test_interrupted_and_continued_is_bit_for_bit_one_run(
  config, finished, tmp_path, monkeypatch
):
  """A step and a row of the history after its checkpoint."""
  with monkeypatch.context() as patch:
    interrupt_after(patch, 4)
    with pytest.raises(Interrupted):
      train.train_and_evaluate(config, tmp_path / 'parts')
  train.train_and_evaluate(config, tmp_path / 'parts')

  small_jobs.same_end(finished(config.mode), tmp_path / 'parts')
  _, history = small_jobs.final_checkpoint(tmp_path / 'parts')
  rows = [row['step'] for row in history if row['part'] == 'train']
  assert rows == [2, 4, 6]


@pytest.mark.parametrize('config', TASKS, indirect=True)
def test_history_has_every_row_of_the_run(config, finished):
  folder = finished(config.mode)
  rows = json.loads((folder / 'history.json').read_text())
  evaluated = [row['step'] for row in rows if row['part'] != 'train']
  assert set(evaluated) == {3, 6}
  assert [row['step'] for row in rows if row['part'] == 'train'] == [2, 4, 6]
  metrics = json.loads((folder / 'results.json').read_text())['metrics']
  tested = [row for row in rows if row['part'] == 'test'][-1]
  assert tested['loss'] == metrics['loss']


@pytest.mark.parametrize('config', TASKS, indirect=True)
def test_run_leaves_what_is_promised(config, finished):
  folder = finished(config.mode)
  results = json.loads((folder / 'results.json').read_text())
  assert {
    'mode',
    'dataset',
    'step',
    'total_steps',
    'checkpoint',
    'weights',
    'seed',
    'label_fraction',
    'metrics',
    'at_chance',
    'images_per_second',
    'wall_seconds',
    'utilisation',
    'devices',
    'versions',
    'initialised_from',
  } == results.keys()
  assert results['mode'] == config.mode
  assert results['step'] == results['total_steps'] == 6
  assert results['devices']['count'] == 2
  assert results['initialised_from'] is None
  expected = {
    'pretrain': {'loss', 'patch_accuracy', 'chance'},
    'finetune': {'loss', 'test_accuracy', 'validation_accuracy'},
  }
  assert results['metrics'].keys() == expected[config.mode]
  assert all(np.isfinite(list(results['metrics'].values())))

  names = {path.name for path in (folder / 'figures').iterdir()}
  assert names >= (
    {'curves.png', 'patches.png'}
    if config.mode == 'pretrain'
    else {'curves.png'}
  )
  assert (folder / 'config.json').exists()
  assert list(folder.glob('events.out.tfevents.*'))
  with checkpoints.open_manager(workdir_lib.run_path(folder)) as manager:
    assert manager.latest_step() == 6


def test_tensorboard_has_metrics_and_pictures(finished):
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(finished('pretrain')), {'tensors': 0, 'images': 0}
  )
  events.Reload()
  tags = set(events.Tags()['tensors'])
  assert tags >= {
    'train/loss',
    'train/patch_accuracy',
    'train/chance',
    'train/learning_rate',
    'train/gradient_norm',
    'train/images_per_second_per_device',
    'train/waiting_share',
    'test/patch_accuracy',
    'patches',
    'curves',
  }


def test_finished_run_says_so_and_computes_nothing(
  finished, log_messages, monkeypatch
):
  folder = finished('pretrain')
  monkeypatch.delattr(batches_lib, 'open_sources')
  results = train.train_and_evaluate(small_jobs.small_job('pretrain'), folder)
  assert results == json.loads((folder / 'results.json').read_text())
  assert 'is finished' in log_messages.text


def test_workdir_of_another_job_is_refused_and_left_alone(finished):
  folder = finished('pretrain')
  config = small_jobs.small_job('pretrain')
  before = (folder / 'config.json').read_text()
  config.model.width, config.total_steps = 8, 7
  changed = r'model\.width \(4 -> 8\), total_steps \(6 -> 7\)'
  with pytest.raises(errors.UserError, match=changed):
    train.train_and_evaluate(config, folder)
  assert (folder / 'config.json').read_text() == before


def test_workdir_that_cannot_be_made_is_one_error(pretrain_config, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.UserError, match='cannot write to the workdir'):
    train.train_and_evaluate(pretrain_config, tmp_path / 'file' / 'run')


def test_a_finished_run_on_other_labels_is_refused(tmp_path):
  for label in ('cat', 'dog'):
    for i in range(6):
      path = tmp_path / 'photos' / label / f'{i}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      rng = np.random.default_rng(i)
      image = rng.integers(0, 256, (32, 32, 3), np.uint8)
      Image.fromarray(image).save(path)
  config = small_jobs.small_job('pretrain')
  config.dataset.name, config.dataset.path = 'folder', str(tmp_path / 'photos')
  config.batch_size = config.eval_batch_size = 2
  first = train.train_and_evaluate(config, tmp_path / 'run')
  assert train.train_and_evaluate(config, tmp_path / 'run') == first
  (tmp_path / 'photos' / 'dog').rename(tmp_path / 'photos' / 'wolf')
  with pytest.raises(errors.UserError, match='holds a run on other data'):
    train.train_and_evaluate(config, tmp_path / 'run')
  # Without the images it is still what it was.
  (tmp_path / 'photos').rename(tmp_path / 'elsewhere')
  assert train.train_and_evaluate(config, tmp_path / 'run') == first

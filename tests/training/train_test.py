"""Whole runs on the digits: what they leave and refuse, how they go on."""

import json
import shutil

import pytest
import small_jobs

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
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


def test_a_finished_run_on_other_labels_is_refused(
  finished, tmp_path, monkeypatch
):
  run, config = tmp_path / 'run', small_jobs.small_job('pretrain')
  shutil.copytree(finished('pretrain'), run)
  data = json.loads((run / 'data.json').read_text())
  data['train']['classes'][3] = 'wolf'
  (run / 'data.json').write_text(json.dumps(data))
  other = "holds a run on other data: train classes .*'wolf'"
  with pytest.raises(errors.UserError, match=other):
    train.train_and_evaluate(config, run)

  def fail(config):
    raise errors.UserError('the images are gone')

  # Without the images it is still what it was.
  shutil.copy(finished('pretrain') / 'data.json', run)
  monkeypatch.setattr(batches_lib, 'read_metadata', fail)
  results = json.loads((run / 'results.json').read_text())
  assert train.train_and_evaluate(config, run) == results

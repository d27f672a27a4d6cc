"""Whole runs on the digits: what they leave and refuse, how they go on."""

import json

import pytest
import small_jobs

from selfie_jax.data import batches as batches_lib
from selfie_jax.training import train


class Interrupted(Exception):
  """Stands for whatever may end a process."""


def interrupt():
  raise Interrupted


@pytest.mark.parametrize('mode', ['pretrain', 'finetune'])
def test_interrupted_and_continued_is_bit_for_bit_one_run(
  mode, finished, tmp_path, monkeypatch
):
  """A step and a row of the history after its checkpoint."""
  config = small_jobs.small_job(mode)
  with monkeypatch.context() as patch:
    small_jobs.call_at(patch, 'train_batches', 4, interrupt)
    with pytest.raises(Interrupted):
      train.train_and_evaluate(config, tmp_path)
  train.train_and_evaluate(config, tmp_path)
  small_jobs.same_end(finished(mode), tmp_path)


def test_tensorboard_has_metrics_and_pictures(finished):
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(finished('pretrain')), {'tensors': 0, 'images': 0}
  )
  events.Reload()
  own = 'loss patch_accuracy chance learning_rate gradient_norm'.split()
  own += ['images_per_second_per_device', 'waiting_share']
  assert set(events.Tags()['tensors']) >= {
    *(f'train/{name}' for name in own),
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

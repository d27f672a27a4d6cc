"""Whatever ends a run, it resumes from its last checkpoint, bit for bit."""

import json
import os
import resource
import shutil
import signal
import time
from unittest import mock

import pytest
import small_jobs

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import evaluation
from selfie_jax.training import preemption
from selfie_jax.training import reporting
from selfie_jax.training import train


@pytest.fixture
def unfinished(finished, tmp_path):
  """A copy of a finished pretraining that has lost its last words."""
  folder = tmp_path / 'run'
  shutil.copytree(finished('pretrain'), folder)
  (folder / 'results.json').unlink()
  return folder


def terminate(number=signal.SIGTERM):
  os.kill(os.getpid(), number)


def test_sigterm_saves_the_step_in_flight(finished, tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    small_jobs.call_at(patch, 'train_batches', 3, terminate)
    with pytest.raises(errors.Preempted, match='saved step 4 of 6'):
      train.train_and_evaluate(small_jobs.small_job('finetune'), tmp_path)
  assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
  train.train_and_evaluate(small_jobs.small_job('finetune'), tmp_path)
  small_jobs.same_end(finished('finetune'), tmp_path)


@pytest.mark.parametrize('ignored', [False, True])
def test_a_hangup_is_sigterm_unless_nohup_has_it_ignored(ignored):
  handler = signal.SIG_IGN if ignored else signal.SIG_DFL
  before = signal.signal(signal.SIGHUP, handler)
  try:
    with preemption.PreemptionHandler(None) as listener:
      terminate(signal.SIGHUP)
      assert listener.received() != ignored
    assert signal.getsignal(signal.SIGHUP) is handler
  finally:
    signal.signal(signal.SIGHUP, before)


def test_sigterm_in_an_evaluation_saves_at_once_and_evaluates_later(
  finished, tmp_path, monkeypatch
):
  folder = tmp_path / 'lr=[0.1]'  # no pattern
  with monkeypatch.context() as patch:
    small_jobs.call_at(patch, 'eval_batches', 1, terminate)
    with pytest.raises(errors.Preempted, match='saved step 3 of 6'):
      train.train_and_evaluate(small_jobs.small_job('pretrain'), folder)
  train.train_and_evaluate(small_jobs.small_job('pretrain'), folder)
  small_jobs.same_end(finished('pretrain'), folder)


def test_damaged_newest_checkpoint_is_named_and_the_older_one_used(
  unfinished, finished, log_messages
):
  damaged = unfinished / 'checkpoints' / '6'
  os.truncate(damaged / 'state' / 'manifest.ocdbt', 20)
  train.train_and_evaluate(small_jobs.small_job('pretrain'), unfinished)
  assert f'{damaged} is damaged: ' in log_messages.text
  assert 'Going back to the checkpoint of step 3' in log_messages.text
  assert 'Continuing from step 3 of 6' in log_messages.text
  assert (unfinished / 'damaged' / '6' / 'state').exists()
  small_jobs.same_end(finished('pretrain'), unfinished)


def test_full_disk_is_one_error_and_the_last_good_checkpoint_stays(
  finished, tmp_path, monkeypatch
):
  """No file may grow past 3 kB once the first checkpoint is written."""
  hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

  def fill():
    end = time.monotonic() + 600  # so as not to hang
    while not (tmp_path / 'checkpoints' / '3').exists():
      assert time.monotonic() < end
      time.sleep(0.01)  # it is written beside the run
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))

  small_jobs.call_at(monkeypatch, 'train_batches', 4, fill)
  try:
    with pytest.raises(errors.UserError, match='step 3 is untouched'):
      train.train_and_evaluate(small_jobs.small_job('pretrain'), tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
  monkeypatch.undo()
  train.train_and_evaluate(small_jobs.small_job('pretrain'), tmp_path)
  small_jobs.same_end(finished('pretrain'), tmp_path)


def test_numbers_that_go_wrong_end_the_run_and_are_not_saved(tmp_path):
  config = small_jobs.small_job('pretrain')
  config.optimizer.learning_rate = 1e30
  config.optimizer.warmup_steps = 4  # the rate is 0 at the first step
  config.checkpoint_every = 1
  for _ in range(2):  # and says the same when it is started again
    with pytest.raises(errors.Diverged) as error:
      train.train_and_evaluate(config, tmp_path)
    said = str(error.value)
  assert 'is not finite at step 3, where the learning rate was 5e+29' in said
  assert 'the last checkpoint is that of step 2' in said
  assert 'a lower --config.optimizer.learning_rate in' in said
  noted = json.loads((tmp_path / 'failure.json').read_text())
  assert noted == {'code': 3, 'line': said}
  with checkpoints.Manager(workdir_lib.run_path(tmp_path)) as manager:
    assert max(manager.all_steps()) == 2


def test_an_evaluation_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
  """The validation loss is made up; so no other step is compiled."""
  real = evaluation.Evaluation.evaluate

  def evaluate(*args, **kwargs):
    return real(*args, **kwargs) | {'loss': float('nan')}

  monkeypatch.setattr(evaluation.Evaluation, 'evaluate', evaluate)
  for _ in range(2):
    with pytest.raises(errors.Diverged, match='validation loss .* at step 3'):
      train.train_and_evaluate(small_jobs.small_job('finetune'), tmp_path)
  assert not (tmp_path / 'results.json').exists()
  with checkpoints.Manager(workdir_lib.run_path(tmp_path)) as manager:
    assert list(manager.all_steps()) == [3]  # saved before the evaluation


@pytest.mark.parametrize('call', ['write_scalars', 'close'])
def test_events_on_a_full_disk_are_one_error(
  call, pretrain_config, tmp_path, monkeypatch
):
  """TensorFlow writes them in the background, and speaks up at some call."""
  writer = mock.Mock()
  getattr(writer, call).side_effect = RuntimeError('No space left on device')
  monkeypatch.setattr(reporting, 'create_writer', lambda workdir: writer)
  workdir = workdir_lib.run_path(tmp_path)
  with pytest.raises(errors.UserError, match='No space left'):
    with reporting.Reporter(pretrain_config, workdir) as reporter:
      reporter.row(1, 'test', {'loss': 1.0})


def test_a_folder_renamed_while_its_run_is_in_it(tmp_path, monkeypatch):
  old, new = tmp_path / 'old', tmp_path / 'new'
  small_jobs.call_at(monkeypatch, 'train_batches', 1, lambda: old.rename(new))
  with pytest.raises(errors.UserError, match=f'{old} was .*--workdir='):
    train.train_and_evaluate(small_jobs.small_job('pretrain'), old)
  # TensorBoard's file is opened beside the steps, so before or after that.
  assert {path.name.partition('.')[0] for path in old.glob('*')} <= {'events'}
  assert (new / 'config.json').exists() and (new / 'run.json').exists()
  assert not os.listdir(new / 'checkpoints')

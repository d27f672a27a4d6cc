"""What is evaluated, when, and that it is exact."""

import pytest
import small_jobs

from selfie_jax.data import batches as batches_lib
from selfie_jax.storage import checkpoints
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import pretrain
from selfie_jax.training import evaluation
from selfie_jax.training import train


def test_test_set_is_read_once_with_the_checkpoint_best_on_validation(
  tmp_path, monkeypatch
):
  """Validation accuracies are made up, so that the best is not the last."""
  asked = []
  real = evaluation.Evaluation.evaluate
  made_up = iter([0.2, 0.9, 0.9, 0.1])

  def recording(self, state, *args, split='validation'):
    asked.append((split, int(state.step)))
    values = real(self, state, *args, split=split)
    own = {'accuracy': next(made_up)} if split == 'validation' else {}
    return values | own

  def preparing(self, state):
    asked.append(('prepare', int(state.step)))
    prepare(self, state)

  prepare = evaluation.Evaluation.prepare
  monkeypatch.setattr(evaluation.Evaluation, 'evaluate', recording)
  monkeypatch.setattr(evaluation.Evaluation, 'prepare', preparing)
  config = small_jobs.small_job('finetune')
  config.total_steps = 8
  config.eval_every = 2
  config.keep_checkpoints = 1

  def watch(config, source):
    del config, source
    return evaluation.Evaluator(
      'watched', 2, lambda state, is_stopped: {'seen': float(state.step)}
    )

  results = train.train_and_evaluate(config, tmp_path, [watch])
  assert asked[0] == ('prepare', 1)  # compiled beside the steps that follow
  # Of two equals the later; after it a worse one, which is the newest kept.
  evaluated = [each for each in asked if each[0] != 'prepare']
  steps = [2, 4, 6, 8]
  assert evaluated == [('validation', i) for i in steps] + [('test', 6)]
  assert results['metrics']['validation_accuracy'] == 0.9
  assert results['checkpoint'] == results['metrics']['seen'] == 6
  with checkpoints.Manager(workdir_lib.run_path(tmp_path)) as manager:
    assert sorted(manager.all_steps()) == [6, 8]


def test_evaluation_does_not_depend_on_the_batch_size(pretrain_config):
  """300 digits in batches with and without a padded rest, on two devices."""
  source = batches_lib.open_source(pretrain_config, 'test')
  state = pretrain.create_state(pretrain_config, 10)
  values = {}
  for batch_size in (300, 64):
    pretrain_config.eval_batch_size = batch_size
    own = evaluation.Evaluation(
      pretrain, pretrain_config, {'test': (source, None)}
    )
    values[batch_size] = own.evaluate(state)
    assert values[batch_size] == pytest.approx(values[300], rel=1e-5)

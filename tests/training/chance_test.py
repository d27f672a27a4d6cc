"""A run that is no better than guessing says so; a slow one does not."""

import json
import math

import numpy as np
import pytest
import small_jobs

from selfie_jax.training import chance
from selfie_jax.training import evaluation
from selfie_jax.training import train

LN4 = math.log(4)


def monitor(labels, part='test'):
  return evaluation.Monitor(part, 100, None, np.asarray(labels))


def of_puzzle(step, loss, accuracy, trained=None, trained_chance=0.25):
  """The rows of one evaluation of a pretraining, and of the training before."""
  trained = loss if trained is None else trained
  train_row = {'part': 'train', 'loss': trained, 'chance': trained_chance}
  test_row = {'part': 'test', 'loss': loss, 'patch_accuracy': accuracy}
  return [
    {'step': step} | row for row in (train_row, test_row | {'chance': 0.25})
  ]


@pytest.fixture
def config(pretrain_config):
  pretrain_config.optimizer.warmup_steps = 100
  return pretrain_config


@pytest.mark.parametrize(
  'rows, expected',
  [
    (of_puzzle(300, LN4, 0.25), True),
    (of_puzzle(299, LN4, 0.25), None),  # young
    (of_puzzle(300, 1.5, 0.255), True),  # worse than a guess
    (of_puzzle(300, 0.985 * LN4, 0.25), False),  # slow
    (of_puzzle(300, LN4, 0.27), False),  # seven standard errors
    (of_puzzle(300, 2.0, 0.25, trained=1.2), False),  # does not generalise
    # Of a group of four images, guessing is among sixteen.
    (of_puzzle(300, LN4, 0.25, math.log(16), 1 / 16), True),
    (of_puzzle(300, LN4, 0.25, 2.7, 1 / 16), False),
    ([], None),
    (of_puzzle(300, LN4, 0.25)[1:], None),  # nothing said of training yet
  ],
)
def test_puzzles_are_guessed(config, rows, expected):
  at_chance = chance.is_guess(config, rows, monitor(np.zeros(6000, int)))
  assert at_chance is expected


@pytest.mark.parametrize(
  'labels, loss, accuracy, expected',
  [
    ([0, 1, 2, 3] * 100, LN4, 0.25, True),
    ([0, 1, 2, 3] * 100, LN4, 0.4, False),
    # Nine of ten are of one class: to say always that is a guess.
    ([0] * 360 + [1] * 40, 0.3251, 0.9, True),
    ([0] * 360 + [1] * 40, 0.30, 0.9, False),
    ([0] * 400, 0.0, 1.0, False),
  ],
)
def test_classes_are_guessed(finetune_config, labels, loss, accuracy, expected):
  finetune_config.optimizer.warmup_steps = 0
  values = {'step': 200, 'loss': loss, 'accuracy': accuracy}
  rows = [values | {'part': part} for part in ('train', 'validation')]
  at_chance = chance.is_guess(
    finetune_config, rows, monitor(labels, 'validation')
  )
  assert at_chance is expected


def test_it_is_said_once(config, log_messages):
  history = []
  for step in range(100, 600, 100):
    history += of_puzzle(step, LN4, 0.25)
    chance.warn(config, history, monitor(np.zeros(6000, int)))
  [record] = log_messages.records
  line = record.getMessage()
  assert line.startswith('Step 300: ') and '\n' not in line
  assert '--config.optimizer.learning_rate=0.01' in line


def test_other_monitors_are_not_judged(config, log_messages):
  history = of_puzzle(300, LN4, 0.25)
  chance.warn(config, history, evaluation.Monitor('test', 100, None))
  assert not log_messages.records


def test_a_run_that_learns_nothing_says_so(tmp_path, log_messages, monkeypatch):
  monkeypatch.setattr(chance, 'STEPS', 2)
  config = small_jobs.small_job('finetune')
  config.optimizer.learning_rate = 1e-9
  results = train.train_and_evaluate(config, tmp_path)
  assert 'no better than guessing' in log_messages.text
  assert results['at_chance'] is True
  assert json.loads((tmp_path / 'results.json').read_text()) == results


def test_a_short_run_does_not_say(finished, log_messages):
  folder = finished('pretrain')
  assert json.loads((folder / 'results.json').read_text())['at_chance'] is None

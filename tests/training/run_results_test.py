"""What results.json says, and whether a pretraining only guesses."""

import json
import math
from unittest import mock

from etils import epath
import numpy as np
import pytest
import small_jobs

from selfie_jax import figures
from selfie_jax.storage import checkpoints
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import reporting
from selfie_jax.training import results as results_lib
from selfie_jax.training import train

LN4 = math.log(4)
NAMES = """mode dataset step total_steps checkpoint weights seed label_fraction
metrics at_chance images_per_second wall_seconds utilisation devices versions
initialised_from identity""".split()


@pytest.mark.parametrize(
  'mode, metrics, figures',
  [
    ('pretrain', 'loss patch_accuracy chance', {'curves.png', 'patches.png'}),
    ('finetune', 'loss test_accuracy validation_accuracy', {'curves.png'}),
  ],
)
def test_run_leaves_what_is_promised(mode, metrics, figures, finished):
  folder = finished(mode)
  results = json.loads((folder / 'results.json').read_text())
  assert set(NAMES) == results.keys()
  assert results['mode'] == mode
  assert results['step'] == results['total_steps'] == 6
  assert results['devices']['count'] == 2
  assert results['initialised_from'] is None
  assert results['at_chance'] is None  # too short to say
  assert results['metrics'].keys() == set(metrics.split())
  assert all(np.isfinite(list(results['metrics'].values())))

  rows = json.loads((folder / 'history.json').read_text())
  assert {row['step'] for row in rows if row['part'] != 'train'} == {3, 6}
  assert [row['step'] for row in rows if row['part'] == 'train'] == [2, 4, 6]
  tested = [row for row in rows if row['part'] == 'test'][-1]
  assert tested['loss'] == results['metrics']['loss']
  assert {path.name for path in (folder / 'figures').iterdir()} == figures
  with checkpoints.Manager(workdir_lib.run_path(folder)) as manager:
    assert manager.latest_step() == 6


def test_history_is_there_while_the_run_goes_on(
  pretrain_config, tmp_path, log_messages
):
  """In the records of the log too, which the notebook draws."""
  path = tmp_path / 'history.json'
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    reporter.row(3, 'train', {'loss': 1.5})
    assert log_messages.records[-1].row == reporter.history[-1]
    assert not path.exists()
    for step in (6, 12):
      reporter.row(step, 'test', {'loss': 1.25})
      assert json.loads(path.read_text()) == reporter.history
      assert reporter.history[-1]['step'] == step


@pytest.mark.parametrize(
  'path, name', [('', 'digits'), ('my/photos/', 'photos'), ('a.csv', 'a.csv')]
)
def test_own_images_are_called_by_their_folder(pretrain_config, path, name):
  pretrain_config.dataset.path = path
  assert results_lib.describe(pretrain_config)['dataset'] == name
  pretrain_config.dataset.train_split = 'train[:10%]'
  part = results_lib.describe(pretrain_config)['dataset']
  assert part == f'{name} train[:10%]'


def test_pictures_are_of_test_images_only(tmp_path, monkeypatch):
  draw = mock.Mock(wraps=figures.patch_puzzle)
  monkeypatch.setattr(figures, 'patch_puzzle', draw)
  config = small_jobs.small_job('pretrain')
  config.dataset.test_split = 'test[:5]'
  train.train_and_evaluate(config, tmp_path)
  assert len(draw.mock_calls[0].kwargs['images']) == 5


def puzzle_rows(step, loss, trained=None):
  """The rows of one evaluation of a pretraining, and of the training before."""
  return [
    {'step': step, 'part': part, 'loss': value, 'chance': 0.25}
    for part, value in (('train', trained or loss), ('test', loss))
  ]


@pytest.fixture
def config(pretrain_config):
  pretrain_config.optimizer.warmup_steps = 100
  return pretrain_config


@pytest.mark.parametrize(
  'rows, expected',
  [
    (puzzle_rows(300, LN4), True),
    (puzzle_rows(299, LN4), None),  # young
    (puzzle_rows(300, 1.5), True),  # worse than a guess
    (puzzle_rows(300, 0.985 * LN4), False),  # slow
    (puzzle_rows(300, 2.0, trained=1.2), False),  # does not generalise
    ([], None),
    (puzzle_rows(300, LN4)[1:], None),  # nothing said of training yet
    ([{'step': 300, 'part': 'test', 'loss': 9.0, 'accuracy': 0.1}], None),
  ],
)
def test_puzzles_are_guessed(config, rows, expected):
  assert results_lib.is_at_chance(config, rows) is expected


def test_it_is_said_once(config, log_messages):
  history = []
  for step in range(100, 600, 100):
    history += puzzle_rows(step, LN4)
    results_lib.warn_at_chance(config, history)
    history += [{'step': step, 'part': 'knn', 'knn_accuracy': 0.1}]
    results_lib.warn_at_chance(config, history)
  [record] = log_messages.records
  line = record.getMessage()
  assert line.startswith('Step 300: ') and '\n' not in line
  assert '--config.optimizer.learning_rate=0.01' in line


def test_a_run_that_learns_nothing_says_so(tmp_path, log_messages, monkeypatch):
  monkeypatch.setattr(results_lib, 'YOUNG', 2)
  config = small_jobs.small_job('pretrain')
  config.optimizer.learning_rate = 1e-9
  assert train.train_and_evaluate(config, tmp_path)['at_chance'] is True
  assert 'no better than guessing' in log_messages.text

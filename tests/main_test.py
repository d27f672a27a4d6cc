"""The command: flags, default folders, and mistakes as one line."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def call(*flags, cwd, code):
  """Runs main.py on one device; returns what it wrote to stderr."""
  done = subprocess.run(
    [sys.executable, ROOT / 'main.py', *flags],
    cwd=cwd,
    text=True,
    capture_output=True,
    env=os.environ | {'XLA_FLAGS': '--xla_backend_optimization_level=0'},
  )
  assert done.returncode == code, done.stderr
  return done.stderr


def test_pretrain_then_finetune_then_again(tmp_path):
  pretrain = f'--config={ROOT}/configs/digits_pretrain.py:tiny'
  finetune = f'--config={ROOT}/configs/digits_finetune.py:tiny'
  told = call(pretrain, '--config.total_steps=4', cwd=tmp_path, code=0)
  run = tmp_path / 'runs' / 'digits_pretrain_tiny'
  assert json.loads((run / 'config.json').read_text())['total_steps'] == 4
  assert json.loads((run / 'results.json').read_text())['step'] == 4
  assert 'Total: ' in told and '1 x cpu' in told  # parameters and devices
  assert 'patch_accuracy' in told and 'images_per_second_per_device' in told

  told = call(
    finetune,
    '--config.init_from=runs/digits_pretrain_tiny',
    '--config.total_steps=4',
    '--workdir=tuned',
    cwd=tmp_path,
    code=0,
  )
  assert 'Loaded from runs/digits_pretrain_tiny' in told
  results = json.loads((tmp_path / 'tuned' / 'results.json').read_text())
  assert results['initialised_from'] == 'runs/digits_pretrain_tiny'

  told = call(pretrain, '--config.total_steps=4', cwd=tmp_path, code=0)
  assert 'is finished' in told
  told = call(pretrain, '--config.total_steps=5', cwd=tmp_path, code=2)
  assert 'total_steps (4 -> 5)' in told

  compared = subprocess.run(
    [sys.executable, '-m', 'selfie_jax.compare', run, tmp_path / 'tuned'],
    cwd=ROOT,
    text=True,
    capture_output=True,
    check=True,
  ).stdout
  assert 'chance 25.0%' in compared and 'patches.png' in compared
  assert f'{results["metrics"]["test_accuracy"]:.1%}' in compared


def test_fallen_back_to_cpu_is_said_loudly(tmp_path):
  environment = os.environ | {'XLA_FLAGS': '--xla_backend_optimization_level=0'}
  del environment['JAX_PLATFORMS']
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      'import logging; logging.basicConfig(); '
      'from selfie_jax import distributed; distributed.log_devices()',
    ],
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=environment,
    check=True,
  )
  assert 'RUNNING ON THE CPU' in done.stderr


@pytest.mark.parametrize(
  'flags, says',
  [
    ([], '--config=configs/FILE.py'),
    (['--config=configs/nothing.py'], 'digits_pretrain'),
    (['--config=configs/digits_pretrain.py:huge'], ':small, :tiny'),
    (
      ['--config=configs/digits_pretrain.py:tiny', '--config.batchsize=3'],
      'batch_size',
    ),
    (
      ['--config=configs/digits_pretrain.py:tiny', '--config.nothing=3'],
      'model.attention.dropout, ',
    ),
    (['--config=configs/digits_pretrain.py:tiny', '--config.seed=x'], 'seed'),
    (['--config=configs/digits_pretrain.py:tiny', 'extra'], 'extra'),
    (['--nonsense=1'], 'nonsense'),
    (
      ['--config=configs/digits_pretrain.py:tiny', '--config.patch_size=7'],
      'patch sizes that fit: 2, 4, 8, 16',
    ),
    (
      [
        '--config=configs/digits_pretrain.py:tiny',
        '--config.dataset.train_split=everything',
      ],
      "'train' (1,497 images), 'test' (300 images)",
    ),
    (
      [
        '--config=configs/digits_finetune.py:tiny',
        '--config.label_fraction=0.001',
      ],
      'label_fraction',
    ),
  ],
)
def test_mistake_is_one_line_with_what_is_valid(tmp_path, flags, says):
  told = call(*flags, cwd=ROOT, code=2)
  lines = [line for line in told.splitlines() if line.startswith('error: ')]
  assert len(lines) == 1 and says in lines[0]
  assert 'Traceback' not in told

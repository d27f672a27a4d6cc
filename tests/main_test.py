"""The command: flags, default folders, and mistakes as one line."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import xla_flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = '--config=configs/digits_pretrain.py:tiny'


def call(*flags, cwd, code):
  """Runs main.py on one device; returns what it wrote to stderr."""
  done = subprocess.run(
    [sys.executable, ROOT / 'main.py', *flags],
    cwd=cwd,
    text=True,
    capture_output=True,
    env=os.environ | {'XLA_FLAGS': xla_flags.UNOPTIMISED},
  )
  assert done.returncode == code, done.stderr
  return done.stderr


def test_pretrain_then_finetune_then_compare(tmp_path):
  pretrain = f'--config={ROOT}/configs/digits_pretrain.py:tiny'
  finetune = f'--config={ROOT}/configs/digits_finetune.py:tiny'
  printed = call(pretrain, '--config.total_steps=4', cwd=tmp_path, code=0)
  run = tmp_path / 'runs' / 'digits_pretrain_tiny'
  assert json.loads((run / 'config.json').read_text())['total_steps'] == 4
  assert json.loads((run / 'results.json').read_text())['step'] == 4
  assert 'Total: ' in printed and '1 x cpu' in printed  # parameters and devices
  assert 'Compiling the first step' in printed
  assert (
    'patch_accuracy' in printed and 'images_per_second_per_device' in printed
  )

  printed = call(
    finetune,
    '--config.init_from=runs/digits_pretrain_tiny',
    '--config.total_steps=4',
    '--workdir=tuned',
    cwd=tmp_path,
    code=0,
  )
  assert 'Loaded from runs/digits_pretrain_tiny' in printed
  results = json.loads((tmp_path / 'tuned' / 'results.json').read_text())
  assert results['initialised_from'] == 'runs/digits_pretrain_tiny'

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
  environment = os.environ | {'XLA_FLAGS': xla_flags.UNOPTIMISED}
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


def fails(*flags, code=2, **variables):
  """What main.py writes when it ends with this exit code."""
  done = subprocess.run(
    [sys.executable, ROOT / 'main.py', *flags],
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=os.environ | variables,
  )
  assert done.returncode == code, done.stderr
  assert done.stdout == ''
  return done.stderr


def test_a_mistake_is_one_line_and_nothing_else():
  printed = fails(TINY, '--config.batchsize=3')
  assert printed.startswith('error: ') and printed.count('\n') == 1
  assert 'did you mean batch_size' in printed


def test_a_run_that_diverged_has_an_exit_code_of_its_own(tmp_path):
  printed = fails(
    TINY,
    '--config.optimizer.learning_rate=1e30',
    f'--workdir={tmp_path}',
    code=3,
    XLA_FLAGS=xla_flags.UNOPTIMISED,
  )
  last = printed.splitlines()[-1]
  assert last.startswith('error: the loss') and 'is not finite at step' in last
  assert 'Traceback' not in printed


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_a_device_that_is_not_there_is_one_line(platform):
  printed = fails(TINY, JAX_PLATFORMS=platform)
  assert printed.startswith('error: jax finds no device for JAX_PLATFORMS=')
  assert f'requirements-{"gpu" if platform == "cuda" else "tpu"}.txt' in printed
  assert printed.count('\n') == 1


def test_libtpu_without_a_tpu_is_no_cluster(tmp_path):
  (tmp_path / 'libtpu').mkdir()
  (tmp_path / 'libtpu' / '__init__.py').write_text(
    "def get_library_path():\n  return '/nowhere/libtpu.so'\n"
  )
  printed = fails(
    TINY,
    '--config.dataset.train_split=everything',
    f'--workdir={tmp_path / "run"}',
    PYTHONPATH=str(tmp_path),
  )
  assert (
    "'train' (1,497 images), 'test' (300 images)" in printed.splitlines()[-1]
  )
  printed = fails(TINY, '--distributed', PYTHONPATH=str(tmp_path))
  assert printed.startswith('error: --distributed finds nothing here')

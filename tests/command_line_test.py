"""How commands read paths, and how they end."""

import os
import sys

import pytest

from selfie_jax import command_line
from selfie_jax import job_flags


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(job_flags.ROOT)
  config = job_flags.read(
    [
      '--config=configs/photos_finetune.py:tiny',
      '--config.dataset.path=~/photos',
      '--config.dataset.data_dir=~/sets',
      '--config.init_from=~/runs/first',
    ]
  )
  assert config.dataset.path == f'{tmp_path}/photos'
  assert config.dataset.data_dir == f'{tmp_path}/sets'
  assert config.init_from == f'{tmp_path}/runs/first'
  assert command_line.path('~/runs/x') == f'{tmp_path}/runs/x'
  assert command_line.path('gs://bucket/~x') == 'gs://bucket/~x'


def test_a_reader_that_ends_is_no_fault(monkeypatch, capsys):
  """As in `python -m selfie_jax.compare RUN | head -1`."""
  read, write = os.pipe()
  os.close(read)
  with os.fdopen(write, 'w') as pipe:
    monkeypatch.setattr(sys, 'stdout', pipe)
    with pytest.raises(SystemExit) as ended, command_line.exit_cleanly():
      print('a line')  # written when the command ends
  assert ended.value.code == 141  # as every program that SIGPIPE ends
  assert capsys.readouterr().err == ''


def test_a_closed_stderr_does_not_hide_the_exit_code(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', None)
  with pytest.raises(SystemExit) as caught, command_line.exit_cleanly():
    raise command_line.errors.UserError('wrong')
  assert caught.value.code == 2

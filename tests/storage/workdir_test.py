"""One run in a folder at a time, and no half-written files."""

import os
import signal
import subprocess
import sys
import types

from etils import epath
import pytest

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import workdir as workdir_lib

HOLD = """
import sys, time
from selfie_jax.storage import workdir
with workdir.lock_workdir(workdir.run_path(sys.argv[1])):
  print('held', flush=True)
  time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that runs in tmp_path/run."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, tmp_path / 'run'], stdout=subprocess.PIPE
  )
  assert process.stdout.readline() == b'held\n'
  yield process
  process.kill()
  process.communicate()


def test_second_run_is_refused_until_the_first_is_dead(holder, tmp_path):
  run = workdir_lib.run_path(tmp_path / 'run')
  named = f'process {holder.pid} on {os.uname().nodename}'
  for _ in range(2):
    with pytest.raises(errors.UserError, match=named):
      with workdir_lib.lock_workdir(run):
        pass
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  with workdir_lib.lock_workdir(run):
    assert str(os.getpid()) in (run / workdir_lib.LOCK).read_text()
    assert str(holder.pid) not in (run / workdir_lib.LOCK).read_text()
  with workdir_lib.lock_workdir(run):
    pass


def test_folder_that_cannot_be_made_is_one_error(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.UserError, match='cannot write to the workdir'):
    with workdir_lib.lock_workdir(
      workdir_lib.run_path(tmp_path / 'file' / 'run')
    ):
      pass


def test_bucket_is_not_made_absolute(monkeypatch):
  monkeypatch.setattr(type(epath.Path('gs://b')), 'exists', lambda path: False)
  library = 'google.cloud.storage'
  monkeypatch.setitem(sys.modules, library, types.ModuleType(library))
  assert str(workdir_lib.run_path('gs://bucket/run')) == 'gs://bucket/run'
  monkeypatch.setitem(sys.modules, library, None)
  with pytest.raises(errors.UserError, match='pip install google-cloud-stor'):
    workdir_lib.run_path('gs://bucket/run')
  with pytest.raises(errors.UserError, match='file:///x is not valid; give a'):
    workdir_lib.run_path('file:///x')
  with pytest.raises(errors.UserError, match=r'without \[, \* and \?'):
    workdir_lib.run_path('gs://bucket/lr=[0.1]')
  assert str(workdir_lib.run_path('run')) == os.path.abspath('run')
  monkeypatch.setenv('HOME', '/home/me')
  assert str(workdir_lib.run_path('~/runs/x')) == '/home/me/runs/x'


def test_written_file_is_whole_or_as_before(tmp_path, monkeypatch):
  path = workdir_lib.run_path(tmp_path) / 'config.json'
  workdir_lib.write(path, 'old')

  def dies(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(type(path), 'replace', dies)  # before the last act
  with pytest.raises(KeyboardInterrupt):
    workdir_lib.write(path, 'new')
  assert path.read_text() == 'old'


def test_json_is_what_every_program_can_read(tmp_path):
  path = workdir_lib.run_path(tmp_path) / 'results.json'
  with pytest.raises(ValueError, match='JSON compliant'):
    workdir_lib.write_json(path, {'loss': float('nan')})
  assert not path.exists()


def test_what_is_still_being_written_is_waited_for(tmp_path, monkeypatch):
  coming = ['first', 'second', 'last']

  def another_thread_writes(seconds):
    assert seconds > 0
    if coming:
      (tmp_path / 'unfinished' / coming.pop(0)).touch()

  (tmp_path / 'unfinished').mkdir()
  monkeypatch.setattr(workdir_lib.time, 'sleep', another_thread_writes)
  checkpoints.wait_until_idle(epath.Path(tmp_path))
  assert (tmp_path / 'unfinished' / 'last').exists()

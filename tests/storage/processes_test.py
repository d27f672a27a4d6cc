"""Of several processes one chooses the checkpoint for all."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys

import checkpoints_test
import pytest

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).parent
RESTORE = """
import sys
from selfie_jax import distributed
from selfie_jax.storage import checkpoints, restoring, weights, workdir
port, process, folder = sys.argv[1:]
distributed.initialize(f'localhost:{port}', 2, int(process), False, 60)
from checkpoints_test import progress_of, state_of
with distributed.abort_all_on_error():
  with checkpoints.open_manager(workdir.run_path(folder), 2) as manager:
    read, progress = restoring.resume(manager, state_of(0))
    print('newest', int(read.step))
    read = restoring.restore_best(manager, read, progress['history'])
    print('best', int(read.step))
  print('weights', int(weights.restore(folder)['step']))
"""


@pytest.fixture
def run(tmp_path):
  """(process whose newest checkpoint is damaged) -> code and words of each."""

  def run(damaged):
    checkpoints_test.saved(tmp_path / '0')
    shutil.copytree(tmp_path / '0', tmp_path / '1')
    newest = tmp_path / str(damaged) / 'checkpoints' / '6'
    (newest / 'progress' / 'metadata').write_text('')
    with socket.socket() as listener:
      listener.bind(('localhost', 0))
      port = listener.getsockname()[1]
    paths = f'{HERE.parent.parent}:{HERE.parent}:{HERE}'
    processes = [
      subprocess.Popen(
        [sys.executable, '-c', RESTORE, str(port), str(i), tmp_path / str(i)],
        env=os.environ | {'PYTHONPATH': paths, 'XLA_FLAGS': ''},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for i in range(2)
    ]
    try:
      ended = [process.communicate(timeout=900) for process in processes]
    finally:
      for process in processes:
        process.kill()
    codes = [process.returncode for process in processes]
    return [(code, *text) for code, text in zip(codes, ended, strict=True)]

  return run


def test_all_take_what_the_first_can_read(run, tmp_path):
  for code, out, err in run(damaged=0):
    assert code == 0, err
    for line in ('best 3', 'newest 3', 'weights 3'):
      assert line in out.splitlines()
  assert (tmp_path / '0' / 'damaged' / '6').exists()
  assert not (tmp_path / '1' / 'damaged').exists()


def test_one_that_cannot_read_it_ends_the_job(run, tmp_path):
  (first, *_), (code, out, err) = run(damaged=1)
  assert first != 0
  assert code == 2 and 'newest' not in out
  assert 'process 1 cannot read the checkpoint of step 6' in err
  assert not (tmp_path / '1' / 'damaged').exists()

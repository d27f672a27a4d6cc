"""Of several processes one chooses the checkpoint for all."""

import pathlib

import pytest
import small_jobs
import small_states

pytestmark = pytest.mark.slow

RESTORE = """
import sys
from selfie_jax import distributed
from selfie_jax.storage import checkpoints, weights, workdir
port, process, root = sys.argv[1:]
distributed.initialize(f'localhost:{port}', 2, int(process), False, 60)
from small_states import state_of
with distributed.abort_all_on_error():
  for folder in (f'{root}/0{process}', f'{root}/1{process}'):
    with checkpoints.Manager(workdir.run_path(folder), 2) as manager:
      read, progress, _ = weights.resume(manager, state_of(0), {})
      print('newest', int(read.step))
      read = weights.restore_best(manager, read, progress['history'])
      print('best', int(read.step))
    print('weights', int(weights.restore(folder)['step']))
"""


def test_all_take_what_the_first_can_read_or_end(tmp_path):
  """Of the first folder its newest is damaged, of the second that of the other.

  Each process has copies of its own, which are to be the same.
  """
  for damaged in (0, 1):
    for process in (0, 1):
      folder = small_states.saved(tmp_path / f'{damaged}{process}')
      if process == damaged:
        small_states.damage(folder)
  here = pathlib.Path(__file__).parent
  codes, said = small_jobs.run_two_processes(RESTORE, tmp_path, here)
  for out, err in said:
    found = [line for line in out.splitlines() if 'Gloo' not in line]
    assert found[:3] == ['newest 3', 'best 3', 'weights 3'], err
  assert codes[0] != 0
  assert codes[1] == 2 and 'newest 6' not in said[1][0]
  assert 'process 1 cannot read the checkpoint of step 6' in said[1][1]
  assert [path.parent.name for path in tmp_path.glob('*/damaged')] == ['00']

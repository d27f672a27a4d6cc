"""Several processes train one model: as one would, and they end together."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys

import jax
import pytest
import small_jobs

from configs import digits_pretrain
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.training import train

FIELDS = {
  'total_steps': 60,
  'log_every': 1,
  'eval_every': 30,
  'checkpoint_every': 20,
}
HEARTBEAT = 10  # seconds


def free_port():
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return listener.getsockname()[1]


@contextlib.contextmanager
def two_processes(workdir, logs):
  """Two processes with a device each, at least ten steps after their start."""
  port = free_port()
  with contextlib.ExitStack() as stack:
    processes = [
      stack.enter_context(
        small_jobs.Process(
          'pretrain',
          workdir,
          FIELDS,
          logs / f'process{i}',
          f'--coordinator=localhost:{port}',
          '--num_processes=2',
          f'--process_id={i}',
          f'--heartbeat_seconds={HEARTBEAT}',
        )
      )
      for i in range(2)
    ]
    first = processes[0]
    assert first.wait_for(lambda: first.printed.count(' train: ') >= 10), (
      first.printed,
      processes[1].printed,
    )
    yield processes


def test_two_processes_stop_die_and_go_on_as_one_would(tmp_path):
  """SIGTERM to one of two, SIGKILL to one of two, the rest as one process."""
  workdir = tmp_path / 'run'
  with two_processes(workdir, tmp_path) as processes:
    processes[1].send(signal.SIGTERM)
    codes = [process.wait(900) for process in processes]
    printed = [process.printed for process in processes]
  assert codes == [143, 143], printed
  saved = [re.search(r'saved step (\d+) of 60', text)[1] for text in printed]
  assert saved[0] == saved[1]
  assert '2 x cpu in 2 processes' in printed[0]
  assert ' train: ' not in printed[1]  # one of them speaks

  with two_processes(workdir, tmp_path) as processes:
    assert f'Continuing from step {saved[0]} of 60' in processes[0].printed
    processes[1].send(signal.SIGKILL)
    assert processes[0].wait(900) != 0
    # jax's own thread ends the process, unless ours is told first.
    known = 'continues from its last checkpoint|another task died'
    assert re.search(known, processes[0].printed), processes[0].printed

  config = digits_pretrain.get_config('tiny')
  config.update(FIELDS)
  assert jax.device_count() == 2
  results = train.train_and_evaluate(config, workdir)
  assert results['step'] == 60
  train.train_and_evaluate(config, tmp_path / 'whole')
  small_jobs.same_end(tmp_path / 'whole', workdir)


SHARING = """
import json
import pathlib
import sys
import jax
import numpy as np
from selfie_jax import distributed
from selfie_jax import errors

jax.config.update('jax_cpu_collectives_implementation', 'gloo')
me = int(sys.argv[2])
jax.distributed.initialize(f'localhost:{sys.argv[1]}', 2, me)

def look():
  assert me == 0
  return [3, 2**40 + 1, 'five']

def fail():
  raise errors.UserError('the disk has failed')

def attempt(function, *arguments):
  try:
    return function(*arguments)
  except errors.UserError as error:
    return f'error: {error}'

results = [
  distributed.broadcast_from_primary(look),
  distributed.broadcast_from_primary(lambda: np.empty(0, np.int64)).dtype.name,
  attempt(distributed.broadcast_from_primary, fail),
  attempt(distributed.check_equal, {'images': 7}, 'images'),
  attempt(distributed.check_equal, {'images': me}, 'images'),
]
pathlib.Path(sys.argv[3]).write_text(json.dumps(results))
"""


@pytest.mark.slow
def test_one_process_looks_for_both(tmp_path):
  port = free_port()
  files = [tmp_path / str(i) for i in range(2)]
  both = [
    subprocess.Popen([sys.executable, '-c', SHARING, str(port), str(i), file])
    for i, file in enumerate(files)
  ]
  assert [process.wait() for process in both] == [0, 0]
  first, second = (json.loads(file.read_text()) for file in files)
  looked = [3, 2**40 + 1, 'five']
  expected = [looked, 'int64', 'error: the disk has failed', None]
  assert first == [*expected, None]
  assert second[:4] == expected
  assert 'process 1 of the job sees other images' in second[4]


@pytest.fixture
def joined(monkeypatch):
  """Stands for jax's own joining, which needs the other machines."""
  calls = []
  monkeypatch.setattr(
    jax.distributed, 'initialize', lambda *args, **kw: calls.append((args, kw))
  )
  return calls


@pytest.fixture
def tpu():
  """What jax sets when it is imported where the chips of a TPU are."""
  before = jax.config.jax_platforms
  jax.config.update('jax_platforms', 'tpu,cpu')
  yield
  jax.config.update('jax_platforms', before)


@pytest.mark.parametrize('automatic', [None, False])
def test_alone_nothing_is_joined(joined, automatic):
  distributed.initialize(None, None, None, automatic, 60)
  assert not joined


@pytest.mark.parametrize('automatic', [None, True])
def test_on_a_pod_jax_finds_the_processes_itself(joined, automatic, tpu):
  distributed.initialize(None, None, None, automatic, 60)
  assert joined == [((None, None, None), {'heartbeat_timeout_seconds': 60})]


def test_the_environment_says_where_the_others_are(joined, monkeypatch):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'host:1234')
  monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
  monkeypatch.setenv('JAX_PROCESS_ID', '0')
  distributed.initialize(None, None, 1, None, 60)
  assert joined[0][0] == ('host:1234', 2, 1)
  monkeypatch.setenv('JAX_NUM_PROCESSES', 'abc')
  with pytest.raises(errors.UserError, match='JAX_NUM_PROCESSES=abc is not'):
    distributed.initialize(None, None, 1, None, 60)


@pytest.fixture
def no_cluster(monkeypatch):
  """What jax does then, before it computes; main_test.py has the real one."""

  def fail(*args, **kwargs):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', fail)


def test_asked_to_find_a_cluster_where_there_is_none(no_cluster):
  with pytest.raises(errors.UserError, match='leave it out for one process'):
    distributed.initialize(None, None, None, True, 60)


def test_a_tpu_that_is_no_part_of_a_pod_is_used_alone(tpu, no_cluster):
  distributed.initialize(None, None, None, None, 60)
  assert not jax.distributed.is_initialized()


def test_half_an_address_is_refused(joined):
  with pytest.raises(errors.UserError, match='--process_id=I'):
    distributed.initialize('host:1234', 2, None, False, 60)
  assert not joined


def test_processes_that_do_not_meet_are_one_error(monkeypatch):
  def fail(*args, **kwargs):
    raise RuntimeError('deadline exceeded')

  monkeypatch.setattr(jax.distributed, 'initialize', fail)
  with pytest.raises(errors.UserError, match='deadline exceeded.*all process'):
    distributed.initialize('host:1234', 2, 0, False, 60)

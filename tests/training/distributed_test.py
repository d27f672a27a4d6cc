"""Several processes train one model: as one would, and they end together."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys

import jax
import pytest
import small_jobs

from configs import digits_pretrain
from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.training import processes as processes_lib
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


def joining(port, process):
  """Flags of one of two processes."""
  return (
    f'--coordinator=localhost:{port}',
    '--num_processes=2',
    f'--process_id={process}',
    f'--heartbeat_seconds={HEARTBEAT}',
  )


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
          *joining(port, i),
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
from configs import digits_finetune, digits_pretrain
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.training import start

port, me, folder = sys.argv[1:]
me = int(me)
distributed.initialize(f'localhost:{port}', 2, me, False, 60)

def look():
  assert me == 0
  return [3, 2**40 + 1, 'five']

def fail():
  raise errors.UserError('the disk has failed')

def attempt(function, *arguments, **fields):
  try:
    return function(*arguments, **fields)
  except errors.UserError as error:
    return f'error: {error}'

def begin(workdir, job=digits_pretrain, **fields):
  config = job.get_config('tiny')
  config.update_from_flattened_dict(fields)
  with start.open_workdir(config, workdir):
    return 'begun'

rate = 'optimizer.learning_rate'
results = [
  distributed.broadcast_from_primary(look),
  distributed.broadcast_from_primary(lambda: np.empty(0, np.int64)).dtype.name,
  attempt(distributed.broadcast_from_primary, fail),
  distributed.gather('x' * me),
  attempt(distributed.check_equal, {'images': 7}, 'images'),
  attempt(distributed.check_equal, {'images': me}, 'images'),
  attempt(begin, f'{folder}/shared', **{'dataset.data_dir': str(me)}),
  attempt(begin, f'{folder}/shared', **{rate: 0.1 + me}),
  attempt(begin, f'{folder}/shared', eval_every=5 + me),
  attempt(begin, f'{folder}/shared', batch_size=16 + me),  # odd: not valid
  attempt(begin, f'{folder}/shared', [digits_pretrain, digits_finetune][me]),
  attempt(begin, f'{folder}/{me}'),
]
pathlib.Path(folder, f'{me}.json').write_text(json.dumps(results))
"""


@pytest.mark.slow
def test_one_process_looks_for_both_and_all_start_alike(tmp_path):
  port = str(free_port())
  both = [
    subprocess.Popen(
      [sys.executable, '-c', SHARING, port, str(i), tmp_path],
      env=os.environ | {'XLA_FLAGS': '', 'PYTHONPATH': str(small_jobs.ROOT)},
    )
    for i in range(2)
  ]
  assert [process.wait() for process in both] == [0, 0]
  first, second = (
    json.loads((tmp_path / f'{i}.json').read_text()) for i in range(2)
  )
  assert first == second  # all are told
  *shared, no_shared_folder = first
  looked = [3, 2**40 + 1, 'five']
  assert shared[:5] == [
    looked, 'int64', 'error: the disk has failed', ['', 'x'], None
  ]  # fmt: skip
  other, begun, rate, every, batch, mode = shared[5:]
  assert 'process 1 of the job sees other images' in other
  assert begun == 'begun'
  for said, field in (
    (rate, 'optimizer.learning_rate is 0.1 in process 0 and 1.1 in process 1'),
    (every, 'eval_every is 5 in process 0 and 6 in process 1'),
    (batch, 'batch_size is 16 in process 0 and 17 in process 1'),
    (mode, 'mode is pretrain in process 0 and finetune in process 1'),
  ):
    line = f'the processes have different configs: {field}. Start all of them'
    assert line in said
  line = (
    'process 1 of the job does not see in {0}/1 what process 0 writes to {0}/0'
  )
  assert line.format(tmp_path) in no_shared_folder
  for folder in (tmp_path / '0', tmp_path / 'shared'):
    assert os.listdir(folder) == ['lock']


@pytest.mark.slow
def test_processes_with_different_configs_end_in_one_line(tmp_path):
  port = free_port()
  with contextlib.ExitStack() as stack:
    processes = [
      stack.enter_context(
        small_jobs.Process(
          'pretrain',
          tmp_path / 'run',
          FIELDS | {'optimizer.learning_rate': 0.1 + i},
          tmp_path / f'process{i}',
          *joining(port, i),
        )
      )
      for i in range(2)
    ]
    assert [process.wait(900) for process in processes] == [2, 2]
  for process in processes:
    assert 'error: the processes have different conf' in process.printed
    assert 'Traceback' not in process.printed
  assert not (tmp_path / 'run').exists()


def test_the_differing_field_is_named(pretrain_config, monkeypatch):
  """As the two processes above; where things are may differ."""
  other = config_lib.flatten(pretrain_config)
  monkeypatch.setattr(distributed, 'gather', lambda value: [value, other])
  pretrain_config.dataset.path = '/elsewhere'
  processes_lib.check_same_config(pretrain_config)
  pretrain_config.log_every = 7
  with pytest.raises(errors.UserError, match='log_every is 7 in process 0 and'):
    processes_lib.check_same_config(pretrain_config)


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

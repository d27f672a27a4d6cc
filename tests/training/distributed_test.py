"""Several processes train one model: as one would, and they end together."""

import contextlib
import json
import os
import re
import signal

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


@contextlib.contextmanager
def two_processes(workdir, logs):
  """Two processes with a device each, at least ten steps after their start."""
  port = small_jobs.free_port()

  def start(i):
    log = logs / f'process{i}'
    flags = (
      f'--coordinator=localhost:{port}',
      '--num_processes=2',
      f'--process_id={i}',
      '--heartbeat_seconds=10',
    )
    return small_jobs.Process('pretrain', workdir, FIELDS, log, *flags)

  with start(0) as first, start(1) as second:
    trains = first.wait_for(lambda: first.printed.count(' train: ') >= 10)
    assert trains, (first.printed, second.printed)
    yield first, second


def ends_as_one_process(workdir, tmp_path):
  """Goes on here, on two devices, as a run that only one process trained."""
  config = digits_pretrain.get_config('tiny')
  config.update(FIELDS)
  assert jax.device_count() == 2
  assert train.train_and_evaluate(config, workdir)['step'] == 60
  train.train_and_evaluate(config, tmp_path / 'whole')
  small_jobs.same_end(tmp_path / 'whole', workdir)


def test_two_processes_stop_together_and_one_goes_on(tmp_path):
  """SIGTERM comes to one of the two."""
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
  ends_as_one_process(workdir, tmp_path)


@pytest.mark.slow
def test_one_process_dies_the_other_ends_and_two_go_on(tmp_path):
  workdir = tmp_path / 'run'
  with two_processes(workdir, tmp_path) as processes:
    processes[1].send(signal.SIGTERM)
    assert [process.wait(900) for process in processes] == [143, 143]
  with two_processes(workdir, tmp_path) as processes:
    assert 'Continuing from step' in processes[0].printed
    processes[1].send(signal.SIGKILL)
    assert processes[0].wait(900) != 0
    # jax's own thread ends the process, unless ours is told first.
    known = 'continues from its last checkpoint|another task died'
    assert re.search(known, processes[0].printed), processes[0].printed
  ends_as_one_process(workdir, tmp_path)


SHARING = """
import json
import sys
from configs import digits_finetune, digits_pretrain
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.training import start

port, me, folder = sys.argv[1:]
me = int(me)
distributed.initialize(f'localhost:{port}', 2, me, False, 60)

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
  with start.open_workdir(config, f'{folder}/{workdir}'):
    return 'begun'

rate = 'optimizer.learning_rate'
print(json.dumps([
  distributed.broadcast_from_primary(lambda: [me, 2**40 + 1, 'five']),
  attempt(distributed.broadcast_from_primary, fail),
  distributed.gather('x' * me),
  attempt(distributed.check_equal, {'images': 7}, 'images'),
  attempt(distributed.check_equal, {'images': me}, 'images'),
  attempt(begin, 'shared', **{'dataset.data_dir': str(me)}),
  attempt(begin, 'shared', **{rate: 0.1 + me}),
  attempt(begin, 'shared', batch_size=16 + me),  # odd: not valid
  attempt(begin, 'shared', [digits_pretrain, digits_finetune][me]),
  attempt(begin, me),
]))
"""


@pytest.mark.slow
def test_one_process_looks_for_both_and_all_start_alike(tmp_path):
  codes, said = small_jobs.run_two_processes(SHARING, tmp_path)
  assert codes == [0, 0], said
  first, second = (json.loads(out.splitlines()[-1]) for out, _ in said)
  assert first == second  # all are told
  looked, failed, gathered, equal, other, begun, *differing = first
  assert looked == [0, 2**40 + 1, 'five'] and gathered == ['', 'x']
  assert failed == 'error: the disk has failed' and equal is None
  assert 'process 1 of the job sees other images' in other
  assert begun == 'begun'
  different = 'the processes have different configs:'
  for line, says in zip(
    differing,
    (
      f'{different} optimizer.learning_rate is 0.1 in process 0 and 1.1 in pro',
      f'{different} batch_size is 16 in process 0 and 17 in process 1. Start',
      f'{different} mode is pretrain in process 0 and finetune in process 1. S',
      f'process 1 of the job does not see in {tmp_path}/1 what process 0 writes'
      f' to {tmp_path}/0',
    ),
    strict=True,
  ):
    assert says in line
  for folder in (tmp_path / '0', tmp_path / 'shared'):
    assert os.listdir(folder) == ['lock']


def test_the_differing_field_is_named(pretrain_config, monkeypatch):
  """As to the two processes above; where things are may differ."""
  here = config_lib.flatten(pretrain_config)

  def gather(value):
    assert value['jax_enable_x64'] is False
    return [value, value | here]

  monkeypatch.setattr(distributed, 'gather', gather)
  pretrain_config.dataset.path = '/elsewhere'
  processes_lib.check_same_config(pretrain_config)
  pretrain_config.log_every = 7
  with pytest.raises(errors.UserError, match='log_every is 7 in process 0 and'):
    processes_lib.check_same_config(pretrain_config)
  pretrain_config.log_every = here['log_every']
  here['jax_enable_x64'] = True
  with pytest.raises(errors.UserError, match='jax_enable_x64 is False in proc'):
    processes_lib.check_same_config(pretrain_config)

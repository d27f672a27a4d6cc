"""Jobs as processes: several at a time, stopped, failed.

A stand-in takes the place of the processes; reproduce_test.py has real ones.
"""

import json
import os
import signal

import made_up_runs
import pytest

from selfie_jax import errors
from selfie_jax.experiments import runner


class Slow:
  """A process that needs some time to save its state after SIGTERM.

  When there are two of them, a signal comes to the runner.
  """

  all_of_them: list['Slow']  # of a test
  number: int  # of the signal

  def __init__(self, words, **_):
    self.needs = 5 if 'selfie' in str(words) else 1
    self.terminated = 0
    self.returncode = None
    self.all_of_them.append(self)

  def poll(self):
    if len(self.all_of_them) == 2 and not self.terminated:
      os.kill(os.getpid(), self.number)
    self.needs -= self.terminated
    if self.needs < 0:
      self.returncode = 143
    return self.returncode

  def terminate(self):
    self.terminated += 1

  def wait(self):
    while self.poll() is None:
      pass


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_each_may_take_its_time_to_save(number, tmp_path, monkeypatch):
  """Of two at a time; a second SIGTERM would end it before."""
  Slow.all_of_them, Slow.number = [], number
  monkeypatch.setattr(runner.subprocess, 'Popen', Slow)
  plan = made_up_runs.digits_plan(tmp_path)
  made_up_runs.finish_all(plan, 'pretrain')
  running = runner.Runner(plan, parallel=2)
  before = signal.signal(number, signal.SIG_DFL)  # nohup ignores SIGHUP
  try:
    with pytest.raises(errors.Preempted):
      running.run()
  finally:
    signal.signal(number, before)
  assert running.signal == number
  ended = [(each.terminated, each.returncode) for each in Slow.all_of_them]
  assert ended == [(1, 143), (1, 143)]


@pytest.mark.parametrize(
  'code, printed, noted',
  [
    (1, 'Traceback (most recent\nOSError: no room\n', 'OSError: no room'),
    (75, 'error: a timeout\n', 'a timeout'),
    (-9, '', 'killed by signal 9: no output'),
  ],
)
def test_a_failure_is_noted(code, printed, noted, tmp_path, monkeypatch):
  starting = made_up_runs.replace_main(monkeypatch, code, printed)
  (tmp_path / 'pretrain').mkdir()
  (tmp_path / 'pretrain' / 'log.txt').write_text('error: an earlier one\n')
  one = runner.Runner(made_up_runs.digits_plan(tmp_path), stage='pretrain')
  one.run()
  found = json.loads((tmp_path / 'pretrain' / 'failure.json').read_text())
  assert found == {'code': code, 'line': noted}
  assert one.failures == {'pretrain': noted}
  assert starting.call_count == (3 if code == 75 else 1)  # it may pass


def test_stopped_from_elsewhere_all_stop(tmp_path, monkeypatch):
  """A job that ends as after SIGTERM is no failure."""
  made_up_runs.replace_main(monkeypatch, 143)
  one = runner.Runner(made_up_runs.digits_plan(tmp_path))
  with pytest.raises(errors.Preempted):
    one.run()
  assert not one.failures and not (tmp_path / 'pretrain/failure.json').exists()


def test_cells_of_a_pretraining_that_failed_are_not_run(tmp_path, monkeypatch):
  made_up_runs.replace_main(monkeypatch, 1)
  one = runner.Runner(made_up_runs.digits_plan(tmp_path, seeds=(1,)))
  one.run()
  line = one.failures['selfie_resnet50_5pct_seed0']
  assert line == 'not run, for pretrain is not finished'
  assert one.failures['supervised_resnet50_5pct_seed0'] == 'no output'

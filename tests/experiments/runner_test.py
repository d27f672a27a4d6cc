"""Jobs as processes: several at a time, stopped, failed."""

import json
import os
import signal
import threading
import time

import made_up_runs
import pytest

from selfie_jax import errors
from selfie_jax.experiments import runner

SLOW_TO_SAVE = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def stop(*_):
  signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it
  if 'selfie' in folder.name:
    time.sleep(1)  # another has ended by now
  (folder / 'saved').touch()
  sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(folder / 'begun').touch()
time.sleep(600)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_each_may_take_its_time_to_save(number, tmp_path, monkeypatch):
  """Two at a time; the processes only wait and stop, as main.py does."""
  made_up_runs.replace_main(monkeypatch, SLOW_TO_SAVE)
  plan = made_up_runs.digits_plan(tmp_path)
  made_up_runs.finish_all(plan, 'pretrain')

  def tell():
    while len([*tmp_path.glob('*/begun')]) < 2:
      time.sleep(0.05)
    os.kill(os.getpid(), number)

  threading.Thread(target=tell, daemon=True).start()
  running = runner.Runner(plan, parallel=2)
  with pytest.raises(errors.Preempted):
    running.run()
  assert running.signal == number
  assert len([*tmp_path.glob('*/saved')]) == 2
  assert len([*tmp_path.glob('*/begun')]) == 2


@pytest.mark.parametrize(
  'program, failure',
  [
    ('import sys; sys.exit("error: no such field")', (1, 'no such field')),
    ('raise OSError("no room")', (1, 'OSError: no room')),
    ('print("step 3 is fine"); raise SystemExit(3)', (3, 'step 3 is fine')),
    ('import os; os.kill(os.getpid(), 9)', (-9, 'killed by signal 9: no outp')),
  ],
)
def test_a_failure_is_noted_with_its_code_and_line(
  program, failure, tmp_path, monkeypatch
):
  made_up_runs.replace_main(monkeypatch, program)
  (tmp_path / 'pretrain').mkdir()
  (tmp_path / 'pretrain' / 'log.txt').write_text('error: an earlier one\n')
  one = runner.Runner(made_up_runs.digits_plan(tmp_path), stage='pretrain')
  one.run()
  noted = json.loads((tmp_path / 'pretrain' / 'failure.json').read_text())
  assert noted['code'] == failure[0] and failure[1] in noted['line']
  assert one.failures == {'pretrain': noted['line']}


def test_stopped_from_elsewhere_all_stop(tmp_path, monkeypatch):
  """A job that ends as after SIGTERM is no failure."""
  made_up_runs.replace_main(monkeypatch, 'raise SystemExit(143)')
  one = runner.Runner(made_up_runs.digits_plan(tmp_path))
  with pytest.raises(errors.Preempted):
    one.run()
  assert not one.failures and not (tmp_path / 'pretrain/failure.json').exists()


def test_what_may_pass_is_tried_three_times(tmp_path, monkeypatch):
  program = """
import pathlib, sys
with open(sys.argv[1] + '/tries', 'a') as file: file.write('x')
sys.exit(75)
"""
  made_up_runs.replace_main(monkeypatch, program)
  one = runner.Runner(made_up_runs.digits_plan(tmp_path), stage='pretrain')
  one.run()
  assert (tmp_path / 'pretrain' / 'tries').read_text() == 'xxx'
  assert one.failures == {'pretrain': 'no output'}


def test_cells_of_a_pretraining_that_failed_are_not_run(tmp_path, monkeypatch):
  made_up_runs.replace_main(monkeypatch, 'raise SystemExit(1)')
  one = runner.Runner(made_up_runs.digits_plan(tmp_path, seeds=(1,)))
  one.run()
  line = one.failures['selfie_resnet50_5pct_seed0']
  assert line == 'not run, for pretrain is not finished'
  assert one.failures['supervised_resnet50_5pct_seed0'] == 'no output'

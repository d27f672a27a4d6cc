"""Jobs as processes: several at a time, stopped, failed, on their cores."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import made_up_runs
import pytest

from selfie_jax import errors
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import runner

CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1

SLOW_TO_SAVE = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def stop(*_):
  signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it
  if 'seed1' in folder.name:
    time.sleep(1)  # another has ended by now
  (folder / 'saved').touch()
  sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(folder / 'begun').touch()
time.sleep(600)
"""


@pytest.mark.skipif(CORES < 2, reason='one core')
def test_each_may_take_its_time_to_save(tmp_path, in_place_of_main):
  """The processes only wait and stop: how fast main.py saves is chance."""
  in_place_of_main(SLOW_TO_SAVE)
  jobs = [
    job for job in made_up_runs.digits_plan(tmp_path).cells() if not job.start
  ]
  folders = [pathlib.Path(job.folder) for job in jobs]

  def tell():
    while not all((folder / 'begun').exists() for folder in folders):
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=tell, daemon=True).start()
  results = results_lib.Results(made_up_runs.digits_plan(tmp_path))
  with pytest.raises(errors.Preempted):
    with runner.open_runner(results, jobs, 2) as running:
      for job in jobs:
        running.start(job)
      running.wait()
  assert running.signal == signal.SIGTERM
  assert all((folder / 'saved').exists() for folder in folders)


@pytest.mark.parametrize(
  'program, failure',
  [
    ('import sys; sys.exit("error: no such field")', (1, 'no such field')),
    ('raise OSError("no room")', (1, 'OSError: no room')),
    ('print("step 3 is fine"); raise SystemExit(3)', (3, 'step 3 is fine')),
    ('import os; os.kill(os.getpid(), 9)', (-9, 'killed by signal 9')),
  ],
)
def test_a_failure_is_noted_with_its_code_and_line(
  program, failure, tmp_path, in_place_of_main
):
  in_place_of_main(program)
  (job,) = made_up_runs.digits_plan(tmp_path).pretrainings()
  with runner.open_runner(
    results_lib.Results(made_up_runs.digits_plan(tmp_path)), [job]
  ) as one:
    one.start(job)
    one.wait()
  noted = json.loads((tmp_path / 'pretrain' / 'failure.json').read_text())
  assert noted['code'] == failure[0] and failure[1] in noted['line']
  assert one.failures == {'pretrain': noted['line']}


def test_stopped_from_elsewhere_all_stop(tmp_path, in_place_of_main):
  """A job that ends as after SIGTERM is no failure."""
  in_place_of_main('raise SystemExit(143)')
  (job,) = made_up_runs.digits_plan(tmp_path).pretrainings()
  with pytest.raises(errors.Preempted):
    with runner.open_runner(
      results_lib.Results(made_up_runs.digits_plan(tmp_path)), [job]
    ) as one:
      one.start(job)
      one.wait()
  assert not one.failures and not (tmp_path / 'pretrain/failure.json').exists()


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='not Linux')
def test_each_is_held_to_its_share_of_the_cores(tmp_path):
  program = 'import os; print(*os.sched_getaffinity(0))'
  all_here = threading.Barrier(CORES)

  def cores_of_a_process():
    all_here.wait()  # so that each has a thread of its own
    words = subprocess.check_output([sys.executable, '-c', program]).split()
    return {int(word) for word in words}

  results = results_lib.Results(made_up_runs.digits_plan(tmp_path))
  with runner.open_runner(results, [], CORES) as running:
    begun = [running.pool.submit(cores_of_a_process) for _ in range(CORES)]
    shares = [future.result() for future in begun]
  assert sum(map(len, shares)) == CORES
  assert set.union(*shares) == os.sched_getaffinity(0)

"""The command: what it runs, skips, resumes, reports and refuses."""

import json
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import made_up_runs
import pytest
import xla_flags

from selfie_jax import errors
from selfie_jax import reproduce
from selfie_jax.experiments import recipes
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import runner

DIGITS = (
  '--set=dataset.name=digits',
  '--pretrain_set=dataset.name=digits',
)
PROGRAM = (sys.executable, '-m', 'selfie_jax.reproduce')
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1
FIELDS = (('dataset.name', 'digits'),)
ENVIRONMENT = os.environ | {'XLA_FLAGS': xla_flags.UNOPTIMISED}


def words(*flags, workdir, fractions='0.05'):
  return [
    '--experiment=cifar_labels',
    '--variant=tiny',
    '--seeds=2',
    f'--fractions={fractions}',
    f'--workdir={workdir}',
    *flags,
  ]


@pytest.fixture
def call(monkeypatch, capsys):
  """Runs the command in this process; returns (stdout, stderr)."""
  logger = logging.getLogger('selfie_jax')
  before = logger.level, logger.propagate, logger.handlers[:]

  def run(*flags, code=0, **where):
    monkeypatch.setattr(sys, 'argv', ['reproduce.py', *words(*flags, **where)])
    with pytest.raises(SystemExit) as ended:
      reproduce.main()
    printed = capsys.readouterr()
    assert ended.value.code == code, printed.err
    return printed

  monkeypatch.chdir(recipes.ROOT)
  monkeypatch.setenv('XLA_FLAGS', ENVIRONMENT['XLA_FLAGS'])
  yield run
  logger.level, logger.propagate, logger.handlers[:] = before


@pytest.fixture
def in_place_of_main(monkeypatch):
  """(program) -> it is run with a job's folder, in place of main.py."""
  return lambda program: monkeypatch.setattr(
    recipes, 'arguments', lambda config, fields, folder: ['-c', program, folder]
  )


def plan(workdir, **changed):
  values = {
    'fractions': (0.05,),
    'seeds': (2,),
    'tune_seeds': (1,),
    'fields': FIELDS,
    'pretrain_fields': FIELDS,
    'workdir': str(workdir),
  }
  return made_up_runs.plan(**values | changed)


def stored(results):
  """{name: row} of the table."""
  path = results / 'cifar_labels_tiny' / 'runs.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  return {row['name']: row for row in rows}


def lose(results, name):
  """Takes a run out of the table."""
  rows = [row for key, row in stored(results).items() if key != name]
  path = results / 'cifar_labels_tiny' / 'runs.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def test_list_is_in_the_order_of_dependency(call, tmp_path):
  printed = call(*DIGITS, '--list', workdir=tmp_path / 'w').out
  first, *cells = printed.splitlines()
  assert 'cifar_pretrain.py:tiny' in first and len(cells) == 4
  assert not (tmp_path / 'w').exists()
  starts = [f'init_from={tmp_path}/w/pretrain' in line for line in cells]
  assert starts == [False, True] * 2


def test_tuned_rates_enter_the_list_when_they_are_there(call, tmp_path):
  flags = (*DIGITS, '--tune', '--grid=0.03,0.1', '--list')
  done = call(*flags, workdir=tmp_path)
  assert len(done.out.splitlines()) == 1 + 4
  assert '4 cells follow' in done.err
  stage = call(*flags, '--stage=tune', workdir=tmp_path).out
  assert stage.splitlines() == done.out.splitlines()[1:]

  made_up_runs.finish_all(plan(tmp_path, grid=(0.03, 0.1)), 'pretrain', 'tune')
  done = call(*flags, workdir=tmp_path)
  assert len(done.out.splitlines()) == 4 and not done.err
  assert done.out.count('learning_rate=0.1') == 4


def test_finished_jobs_are_not_run_again(call, tmp_path):
  """Made-up runs have no checkpoint: anything run would fail."""
  made_up_runs.finish_all(plan(tmp_path / 'w'))
  results = tmp_path / 'r'
  flags = (*DIGITS, f'--results={results}')
  printed = call(*flags, workdir=tmp_path / 'w').err
  assert '0 to run, 5 finished' in printed
  printed = call(*flags, '--stage=pretrain', workdir=tmp_path / 'w').err
  assert '0 to run, 1 finished' in printed
  text = (results / 'cifar_labels_tiny' / 'report.md').read_text()
  assert 'All 4 cells are finished' in text

  shutil.rmtree(tmp_path / 'w')  # a fresh clone
  assert '0 to run' in call(*flags, workdir=tmp_path / 'new').err
  assert call(*flags, '--list', workdir=tmp_path / 'new').out == ''
  # A cell of Selfie that is left needs the pretraining's weights again.
  lose(results, 'selfie_resnet50_5pct_seed1')
  printed = call(*flags, '--list', workdir=tmp_path / 'new').out
  assert ['cifar_pretrain' in line for line in printed.splitlines()] == [
    True,
    False,
  ]


def test_devices_are_left_to_the_jobs(tmp_path):
  """A TPU serves one process: with none here, asking for one would fail."""
  made_up_runs.finish_all(plan(tmp_path))
  subprocess.run(
    [*PROGRAM, *words(*DIGITS, workdir=tmp_path)],
    cwd=recipes.ROOT,
    env=ENVIRONMENT | {'JAX_PLATFORMS': 'tpu'},
    check=True,
  )


def test_failed_job_is_reported_and_does_not_stop_the_rest(
  call, tmp_path, in_place_of_main
):
  in_place_of_main('print("error: no checkpoint"); raise SystemExit(2)')
  made_up_runs.finish_all(plan(tmp_path))
  unlucky = [job for job in plan(tmp_path).cells() if job.start]
  folders = [pathlib.Path(job.folder) for job in unlucky]
  for folder in folders:
    (folder / 'results.json').unlink()
  printed = call(*DIGITS, workdir=tmp_path, code=1).err
  for folder in folders:
    assert f'failed: {folder.name}: ' in printed
    assert 'checkpoint' in (folder / 'log.txt').read_text()
    assert json.loads((folder / 'failure.json').read_text())['code'] == 2
  assert 'python -m selfie_jax.reproduce' in printed  # what to type
  text = (tmp_path / 'reports' / 'cifar_labels_tiny' / 'report.md').read_text()
  assert '**2 of 4 cells are finished.**' in text
  for folder in folders:
    assert re.search(rf'- .*{folder.name}.*: `.*checkpoint', text)


AFTER_THE_OTHER_HAS_BEGUN = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / 'begun').touch()
for _ in range(12_000):
  if len(list(folder.parent.glob('*/begun'))) == 2:
    sys.exit('not alone')
  time.sleep(0.05)
"""


@pytest.mark.skipif(CORES < 2, reason='one core')
def test_two_at_a_time(call, tmp_path, in_place_of_main):
  made_up_runs.finish_all(plan(tmp_path))
  for job in plan(tmp_path).cells():
    if not job.start:
      shutil.rmtree(job.folder)
  in_place_of_main(AFTER_THE_OTHER_HAS_BEGUN)
  printed = call(*DIGITS, '--parallel=2', workdir=tmp_path, code=1).err
  assert '2 to run' in printed
  assert len(re.findall('^failed: .*: not alone$', printed, re.M)) == 2


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
  jobs = [job for job in plan(tmp_path).cells() if not job.start]
  folders = [pathlib.Path(job.folder) for job in jobs]

  def tell():
    while not all((folder / 'begun').exists() for folder in folders):
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=tell, daemon=True).start()
  results = results_lib.Results(plan(tmp_path))
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
  (job,) = plan(tmp_path).pretrainings()
  with runner.open_runner(results_lib.Results(plan(tmp_path)), [job]) as one:
    one.start(job)
    one.wait()
  noted = json.loads((tmp_path / 'pretrain' / 'failure.json').read_text())
  assert noted['code'] == failure[0] and failure[1] in noted['line']
  assert one.failures == {'pretrain': noted['line']}


def test_stopped_from_elsewhere_all_stop(tmp_path, in_place_of_main):
  """A job that ends as after SIGTERM is no failure."""
  in_place_of_main('raise SystemExit(143)')
  (job,) = plan(tmp_path).pretrainings()
  with pytest.raises(errors.Preempted):
    with runner.open_runner(results_lib.Results(plan(tmp_path)), [job]) as one:
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

  results = results_lib.Results(plan(tmp_path))
  with runner.open_runner(results, [], CORES) as running:
    begun = [running.pool.submit(cores_of_a_process) for _ in range(CORES)]
    shares = [future.result() for future in begun]
  assert sum(map(len, shares)) == CORES
  assert set.union(*shares) == os.sched_getaffinity(0)


@pytest.mark.parametrize(
  'flags, says',
  [
    (['--set=total_steps=99'], 'total_steps (12 -> 99)'),
    (['--pretrain_set=total_steps=99'], 'total_steps (12 -> 99)'),
    (['--tune', '--set=seed=3'], '--seeds=5'),
    (['--set=nothing=3'], 'batch_size'),
    (['--set=batchsize=3'], 'did you mean batch_size'),
    (['--experiment=nothing'], "'cifar_labels', 'imagenet32_labels'"),
    (['--parallel=two'], "no whole number: 'two'"),
    (['--tune', '--set=validation_fraction=0'], 'validation_fraction=0'),
    (['--set=nothing'], '--set: nothing is not valid; type FIELD=VALUE'),
    (['--seeds=0'], '--seeds: 0 is not valid'),
    (['--seeds=1.5'], '--seeds=1.5 is not valid'),
    (['--tune_seeds=0.5'], '--tune_seeds=0.5 is not valid'),
    (['--seeds=2,2'], 'each of the 1 label fractions'),
    (['--fractions=5'], '--fractions=5 is not valid'),
    (['--pretrained=nowhere'], '--pretrained=nowhere'),
    (['--variant=huge'], ':small'),
    (['--parallel=0'], '--parallel=0 is not between 1 and the'),
    (['--parallel=9999'], '--parallel=9999 is not between 1 and the'),
  ],
)
def test_mistake_is_one_line(call, flags, says, tmp_path):
  made_up_runs.finish_all(plan(tmp_path))
  printed = call(*DIGITS, *flags, workdir=tmp_path, code=2).err
  assert printed.startswith('error: ') and len(printed.splitlines()) == 1
  assert says in printed


@pytest.mark.slow
@pytest.mark.parametrize('parallel', [1, min(2, CORES)])
def test_stopped_and_typed_again_it_ends_as_if_it_had_not_been(
  call, parallel, tmp_path
):
  """Pretrains, tunes and finetunes on the digits, stopped on the way."""
  flags = (
    *(*DIGITS, '--tune', '--grid=0.1,1e30', '--pretrain_set=log_every=1'),
    f'--parallel={parallel}',
  )
  where = {'workdir': tmp_path / 'w'}
  results = f'--results={tmp_path / "r"}'
  for job, number, code in (
    ('pretrain', signal.SIGTERM, 143),
    ('tune_selfie_resnet50_5pct_seed1000_rate0.1', signal.SIGINT, 130),
  ):
    process = subprocess.Popen(
      [*PROGRAM, *words(*flags, results, **where)],
      cwd=recipes.ROOT,
      text=True,
      stderr=subprocess.PIPE,
      env=ENVIRONMENT,
    )
    log = tmp_path / 'w' / job / 'log.txt'
    while not (log.exists() and 'step 3 train' in log.read_text()):
      assert process.poll() is None
      time.sleep(0.05)
    process.send_signal(number)
    _, printed = process.communicate()
    assert process.returncode == code, printed
    assert 'stopped; to go on: python -m selfie_jax.reproduce' in printed
  call(*flags, results, **where)
  assert (
    'Continuing from step'
    in (tmp_path / 'w' / 'pretrain' / 'log.txt').read_text()
  )
  text = (tmp_path / 'r' / 'cifar_labels_tiny' / 'report.md').read_text()
  assert 'All 4 cells are finished' in text and 'diverged' in text

  # From a fresh clone, with one cell lost: pretrained again, the same result.
  lost = 'selfie_resnet50_5pct_seed1'
  before = stored(tmp_path / 'r')
  assert before['pretrain']['weights']
  diverged = [row for row in before.values() if 'failure' in row]
  assert [row['failure']['code'] for row in diverged] == [3, 3]
  lose(tmp_path / 'r', lost)
  printed = call(*flags, results, workdir=tmp_path / 'new').err
  assert '2 to run' in printed
  after = stored(tmp_path / 'r')
  assert after[lost]['metrics'] == before[lost]['metrics']
  assert after[lost]['pretraining'] == before[lost]['pretraining']
  assert set(after) == set(before)

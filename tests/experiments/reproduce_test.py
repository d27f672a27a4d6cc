"""The command: what it runs, skips, resumes, reports and refuses."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time

import made_up_runs
import pytest
import xla_flags

from selfie_jax import job_flags
from selfie_jax import reproduce

DIGITS = ('--set=dataset.name=digits', '--pretrain_set=dataset.name=digits')
ENVIRONMENT = os.environ | {'XLA_FLAGS': xla_flags.UNOPTIMISED}


def words(*flags, workdir):
  job = ['--experiment=cifar_labels', '--variant=tiny']
  return [*job, '--seeds=2', '--fractions=0.05', f'--workdir={workdir}', *flags]


def start(*flags, workdir, **variables):
  """The command as a process of its own."""
  given = words(*flags, workdir=workdir)
  return subprocess.Popen(
    [sys.executable, '-m', 'selfie_jax.reproduce', *given],
    cwd=job_flags.ROOT,
    text=True,
    stderr=subprocess.PIPE,
    env=ENVIRONMENT | variables,
  )


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

  monkeypatch.chdir(job_flags.ROOT)
  monkeypatch.setenv('XLA_FLAGS', ENVIRONMENT['XLA_FLAGS'])
  yield run
  logger.level, logger.propagate, logger.handlers[:] = before


def stored(results, without=''):
  """{name: row} of the table, from which a run may be taken out."""
  path = results / 'cifar_labels_tiny' / 'runs.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  kept = [json.dumps(row) for row in rows if row['name'] != without]
  path.write_text('\n'.join(kept) + '\n')
  return {row['name']: row for row in rows}


def test_list_is_in_order_and_has_the_rates_when_they_are_there(call, tmp_path):
  first, *cells = call(*DIGITS, '--list', workdir=tmp_path).out.splitlines()
  assert 'cifar_pretrain.py:tiny' in first and len(cells) == 4
  assert not [*tmp_path.iterdir()]
  starts = [f'init_from={tmp_path}/pretrain' in line for line in cells]
  assert starts == [False, True] * 2

  flags = (*DIGITS, '--tune', '--grid=0.03,0.1', '--list')
  done = call(*flags, workdir=tmp_path)
  assert len(done.out.splitlines()) == 1 + 4
  assert '4 cells follow' in done.err
  stage = call(*flags, '--stage=tune', workdir=tmp_path).out
  assert stage.splitlines() == done.out.splitlines()[1:]
  plan = made_up_runs.digits_plan(tmp_path, grid=(0.03, 0.1))
  made_up_runs.finish_all(plan, 'pretrain', 'tune')
  done = call(*flags, workdir=tmp_path)
  assert len(done.out.splitlines()) == 4 and not done.err
  assert done.out.count('learning_rate=0.1') == 4


def test_finished_jobs_are_not_run_again(call, tmp_path):
  """Made-up runs have no checkpoint: anything run would fail."""
  made_up_runs.finish_all(made_up_runs.digits_plan(tmp_path / 'w'))
  results = tmp_path / 'r'
  flags = (*DIGITS, f'--results={results}')
  printed = call(*flags, workdir=tmp_path / 'w').err
  assert '0 to run, 5 finished' in printed
  report = results / 'cifar_labels_tiny' / 'report.md'
  text = report.read_text()
  assert 'All 4 cells are finished' in text

  shutil.rmtree(tmp_path / 'w')  # a fresh clone
  assert '0 to run' in call(*flags, workdir=tmp_path / 'new').err
  again = report.read_text()
  assert again.partition('## Command')[0] == text.partition('## Command')[0]
  # A cell of Selfie that is left needs the pretraining's weights again.
  stored(results, without='selfie_resnet50_5pct_seed1')
  first, cell = call(
    *flags, '--list', workdir=tmp_path / 'new'
  ).out.splitlines()
  assert 'cifar_pretrain' in first and 'cifar_pretrain' not in cell


@pytest.mark.slow
def test_devices_are_left_to_the_jobs(tmp_path):
  """A TPU serves one process: with none here, asking for one would fail."""
  made_up_runs.finish_all(made_up_runs.digits_plan(tmp_path))
  process = start(*DIGITS, workdir=tmp_path, JAX_PLATFORMS='tpu')
  _, printed = process.communicate()
  assert process.returncode == 0, printed


def test_failed_job_is_reported_and_stops_no_other(call, tmp_path, monkeypatch):
  made_up_runs.replace_main(monkeypatch, 2, 'error: no checkpoint\n')
  plan = made_up_runs.digits_plan(tmp_path)
  failed = [job.name for job in plan.cells() if job.start]
  made_up_runs.finish_all(plan, but=failed)
  printed = call(*DIGITS, workdir=tmp_path, code=1).err
  assert 'python -m selfie_jax.reproduce' in printed  # what to type
  for name in failed:
    assert f'failed: {name}: no checkpoint' in printed
    assert 'no checkpoint' in (tmp_path / name / 'log.txt').read_text()
  text = (tmp_path / 'reports' / 'cifar_labels_tiny' / 'report.md').read_text()
  assert f'- {", ".join(failed)}: `no checkpoint`' in text


def test_mistake_is_one_line(call, tmp_path):
  made_up_runs.finish_all(made_up_runs.digits_plan(tmp_path))
  for says, *flags in (
    ('total_steps (12 -> 99)', '--set=total_steps=99'),
    ('--seeds=5', '--tune', '--set=optimizer.learning_rate=3'),
    ("'cifar_labels', 'imagenet32_attention_labels'", '--experiment=nothing'),
    ("no whole number: 'two'", '--parallel=two'),
    ('validation_fraction=0', '--tune', '--set=validation_fraction=0'),
    ('--set: nothing is not valid; type FIELD=VALUE', '--set=nothing'),
    ('--seeds: 0 is not valid', '--seeds=0'),
    ('each of the 1 label fractions', '--tune', '--tune_seeds=2,2'),
    ('are for --tune, which is missing', '--grid=0.03'),
    ('--grid: 0.1,0.10000001 is not valid', '--grid=0.1,0.10000001'),
    ('--fractions=5 is not valid', '--fractions=5'),
    ('--pretrained=nowhere', '--pretrained=nowhere'),
    (':small', '--variant=huge'),
    ('cannot write to', f'--results={tmp_path}/pretrain/config.json'),
    ('cannot write to', f'--workdir={tmp_path}/pretrain/config.json'),
  ):
    printed = call(*DIGITS, *flags, workdir=tmp_path, code=2).err
    assert printed.startswith('error: ') and len(printed.splitlines()) == 1
    assert says in printed


@pytest.mark.slow
@pytest.mark.parametrize('parallel', [1, 2])
def test_stopped_and_typed_again_it_ends_alike(call, parallel, tmp_path):
  """Pretrains, tunes and finetunes on the digits, stopped on the way."""
  flags = (
    *(*DIGITS, '--tune', '--grid=0.1,1e30', '--pretrain_set=log_every=1'),
    *(f'--parallel={parallel}', f'--results={tmp_path / "r"}'),
  )
  workdir = tmp_path / 'w'
  for job, number, code in (
    ('pretrain', signal.SIGTERM, 143),
    ('tune_selfie_resnet50_5pct_seed1000_rate0.1', signal.SIGINT, 130),
  ):
    process = start(*flags, workdir=workdir)
    log = workdir / job / 'log.txt'
    while not (log.exists() and 'step 3 train' in log.read_text()):
      assert process.poll() is None
      time.sleep(0.05)
    process.send_signal(number)
    _, printed = process.communicate()
    assert process.returncode == code, printed
    assert 'stopped; to go on: python -m selfie_jax.reproduce' in printed
  call(*flags, workdir=workdir)
  log = (workdir / 'pretrain' / 'log.txt').read_text()
  assert 'Continuing from step' in log
  text = (tmp_path / 'r' / 'cifar_labels_tiny' / 'report.md').read_text()
  assert 'All 4 cells are finished' in text and 'diverged' in text

  # From a fresh clone, with one cell lost: pretrained again, the same result.
  lost = 'selfie_resnet50_5pct_seed1'
  before = stored(tmp_path / 'r', without=lost)
  assert before['pretrain']['weights']
  diverged = [row for row in before.values() if 'failure' in row]
  assert [row['failure']['code'] for row in diverged] == [3, 3]

  assert '2 to run' in call(*flags, workdir=tmp_path / 'new').err
  after = stored(tmp_path / 'r')
  assert set(after) == set(before)
  for key in ('metrics', 'pretraining'):
    assert after[lost][key] == before[lost][key]

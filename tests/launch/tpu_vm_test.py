"""launch/tpu_vm.sh against a gcloud whose only worker is a folder."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.slow  # each test starts programs
ROOT = pathlib.Path(__file__).resolve().parents[2]
ODD = '--config.note=a "b" $HOME `c` \'d\''
JOB = ('--config=configs/x.py', '--workdir=gs://bucket/run', ODD)
PROGRAMS = {
  'gcloud': """
printf '%q ' "$@" >>"$HOME/calls"; echo >>"$HOME/calls"
cd "$HOME"
last=${!#}
case $4 in
  scp) cp "$5" selfie.tar.gz ;;
  ssh) bash -c "${last#--command=}" ;;
esac""",
  # `uv venv` makes a Python that says how it was started and then waits.
  'uv': """[ "$1" != venv ] || {
  mkdir -p .venv/bin && cp "$HOME/bin/job" .venv/bin/python
}""",
  'tail': '',
  'job': """printf '%s\\n' "$@" >"$HOME/started"; exec sleep 100""",
}


@pytest.fixture
def terminal(tmp_path):
  """Runs tpu_vm.sh; returns its exit code and what it said."""
  project = tmp_path / 'project'
  shutil.copytree(ROOT / 'launch', project / 'launch')
  git = ['git', '-c', 'user.name=x', '-c', 'user.email=x@x']
  for command in ('init -q', 'add .', 'commit -qm x'):
    subprocess.run(git + command.split(), cwd=project, check=True)
  (tmp_path / 'bin').mkdir()
  for name, text in PROGRAMS.items():
    (tmp_path / 'bin' / name).write_text(f'#!/bin/bash\n{text}\n')
    (tmp_path / 'bin' / name).chmod(0o755)
  os.mkfifo(tmp_path / 'started')
  given = {
    'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}',
    'HOME': str(tmp_path),
    'SELFIE_NAME': 'mine',
    'SELFIE_PROJECT': 'ours',
    'SELFIE_ZONE': 'here',
    'SELFIE_ACCELERATOR_TYPE': 'v5litepod-8',
  }

  def call(*words, **environment):
    command = ['bash', project / 'launch' / 'tpu_vm.sh', *words]
    done = subprocess.run(
      command, env=given | environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr

  yield call
  call('stop')


def test_one_job_is_started_on_all_workers_and_stopped(terminal, tmp_path):
  guide = (ROOT / 'docs' / 'tpu.md').read_text()
  usage = terminal('--help')[1].partition('commands:')[2].partition('\n\n')[0]
  commands = [line.split()[0] for line in usage.strip().splitlines()]
  assert len(commands) == 6
  assert all(f'`tpu_vm.sh {command}` |' in guide for command in commands)

  assert 'type tpu_vm.sh setup' in terminal('run', *JOB)[2]
  assert terminal('setup') == (0, '', '')
  assert terminal('run', *JOB) == (0, '', '')
  started = (tmp_path / 'started').read_text().splitlines()
  assert started == ['-u', 'main.py', *JOB]

  for command in (['run', *JOB], ['setup']):
    code, _, said = terminal(*command)
    assert (code, said.count('\n')) == (1, 1)
    assert said.startswith('error: a job is running')
  assert terminal('stop') == (0, '', '')
  assert 'no job is running' in terminal('stop')[1]
  calls = (tmp_path / 'calls').read_text().splitlines()
  assert all('--worker=all' in call for call in calls)


@pytest.mark.parametrize(
  'words', ['delete --dry-run', 'delete other', 'stop --help', 'logs 1 2']
)
def test_a_command_takes_nothing_that_it_would_ignore(
  terminal, tmp_path, words
):
  code, _, said = terminal(*words.split())
  assert code == 2 and said.startswith('error: ') and said.count('\n') == 1
  assert not (tmp_path / 'calls').exists()
  local = terminal('run', *JOB, '--workdir=local')
  assert local[0] == 2 and 'the run has to outlive the TPU' in local[2]


def test_dry_run_prints_the_command_and_calls_nothing(terminal, tmp_path):
  for words, command in (
    (
      'create --spot',
      'create mine --accelerator-type=v5litepod-8 --version=v2-alpha-tpuv5-lite'
      ' --project=ours --zone=here --spot',
    ),
    (
      'logs 3',
      'ssh mine --worker=3 --project=ours --zone=here'
      " '--command=tail -n 100 -F selfie/log'",
    ),
    ('delete', 'delete mine --quiet --project=ours --zone=here'),
  ):
    printed = shlex.split(terminal('--dry-run', *words.split())[1])
    assert printed == shlex.split(f'gcloud compute tpus tpu-vm {command}')
    assert not (tmp_path / 'calls').exists()
    terminal(*words.split())
    (call,) = (tmp_path / 'calls').read_text().splitlines()
    assert shlex.split(call) == printed[1:]
    (tmp_path / 'calls').unlink()

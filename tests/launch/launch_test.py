"""The launch scripts, against a cloud that is played: see stand_in_cloud.py."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sysconfig

import pytest
import stand_in_cloud
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch'
JOB = ('--', '--config=configs/cifar_pretrain.py')
ODD = '--config.note=a "b" $HOME `c` \'d\''


@pytest.fixture(scope='session')
def project(tmp_path_factory):
  """A git repository with the scripts and not much else."""
  folder = tmp_path_factory.mktemp('project')
  shutil.copytree(LAUNCH, folder / 'launch')
  git = ['git', '-c', 'user.name=x', '-c', 'user.email=x@x']
  for command in (['init', '-q'], ['add', '.'], ['commit', '-qm', 'x']):
    subprocess.run(git + command, cwd=folder, check=True)
  return folder


@pytest.fixture
def cloud(tmp_path, project):
  played = Played(tmp_path, project)
  yield played
  for worker in stand_in_cloud.Cloud(tmp_path, []).workers():
    stand_in_cloud.end_job(worker)


class Played:
  """tpu_vm.sh in a terminal, and the cloud behind it."""

  def __init__(self, folder: pathlib.Path, project: pathlib.Path):
    stand_in_cloud.install(folder)
    self.folder, self.script = folder, project / 'launch' / 'tpu_vm.sh'
    self.environment = {
      'PATH': f'{folder}/bin:{os.environ["PATH"]}',
      'STAND_IN': str(folder),
      'SELFIE_NAME': 'mine',
      'SELFIE_PROJECT': 'ours',
      'SELFIE_ZONE': 'here',
      'SELFIE_ACCELERATOR_TYPE': 'v4-16',
      'SELFIE_WORKDIR': 'gs://bucket/run',
      'SELFIE_POLL': '0',
    }

  def type(self, *words: str, code: int = 0, **environment: str):
    """Runs tpu_vm.sh; returns what it said on stdout and stderr."""
    done = subprocess.run(
      ['bash', self.script, *words],
      env=self.environment | environment,
      capture_output=True,
      text=True,
      timeout=30,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr

  def calls(self, *words: str) -> list[list[str]]:
    """The calls of gcloud that have these words, in turn."""
    path = self.folder / 'calls.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    calls = [json.loads(line) for line in lines]
    return [call for call in calls if all(word in call for word in words)]

  def actions(self) -> list[str]:
    """What was done to the TPU, in turn: create, delete, scp."""
    return [
      call[3]
      for call in self.calls('tpus')
      if call[3] not in ('describe', 'ssh')
    ]

  def has_ready_tpu(self, workers: int = 2) -> None:
    """As after `create` and `setup`."""
    (self.folder / 'tpu').write_text('READY\n')
    for number in range(workers):
      selfie = self.folder / f'worker{number}' / 'selfie'
      shutil.copytree(LAUNCH, selfie / 'code' / 'launch')
      (selfie / 'venv' / 'bin').mkdir(parents=True)
      main = self.folder / 'worker_bin' / 'main'
      shutil.copy(main, selfie / 'venv' / 'bin' / 'python')
      (selfie / 'venv' / 'installed').touch()

  def plan(self, *starts: str) -> None:
    (self.folder / 'plan').write_text('\n'.join(starts) + '\n')

  def starts(self) -> list[str]:
    return sorted(path.name for path in (self.folder / 'starts').iterdir())

  def arguments(self, start: str) -> list[str]:
    return (self.folder / 'starts' / start).read_text().splitlines()

  def status(self) -> str:
    return self.type('status')[0]


def test_create_asks_for_a_tpu_with_the_software_for_its_kind(cloud):
  cloud.type('create', '--spot', '--create-flag=--network=ours')
  assert cloud.calls('create') == [
    ['compute', 'tpus', 'tpu-vm', 'create', 'mine']
    + ['--accelerator-type=v4-16', '--version=tpu-ubuntu2204-base']
    + ['--spot', '--network=ours', '--project=ours', '--zone=here']
  ]


def test_queued_request_is_waited_for(cloud):
  said = cloud.type(
    'create', '--queued', '--accelerator-type', 'v5litepod-8', '--name=other'
  )[1]
  (create,) = cloud.calls('create')
  assert create[2:] == (
    ['queued-resources', 'create', 'other', '--node-id=other']
    + ['--accelerator-type=v5litepod-8']
    + ['--runtime-version=v2-alpha-tpuv5-lite']
    + ['--project=ours', '--zone=here']
  )
  assert 'other is WAITING_FOR_RESOURCES' in said
  assert (cloud.folder / 'tpu').read_text() == 'READY\n'


def test_failed_request_ends_create(cloud):
  said = cloud.type('create', '--queued', code=1, STAND_IN_REQUEST='FAILED')[1]
  assert 'error: mine is FAILED' in said


def test_setup_copies_the_commit_to_all_workers_and_installs_it(cloud):
  cloud.type('create', STAND_IN_WORKERS='2')
  assert 'job: bare' in cloud.status()
  assert 'type setup first' in cloud.type('run', *JOB, code=2)[1]
  cloud.type('setup')
  for worker in ('worker0', 'worker1'):
    code = cloud.folder / worker / 'selfie' / 'code'
    assert (code / 'launch' / 'worker.sh').exists()
  assert 'job: idle' in cloud.status()


def test_run_is_detached_on_all_workers_and_only_once(cloud):
  cloud.has_ready_tpu()
  cloud.plan('wait')
  cloud.type('run', '--data-dir=gs://bucket/tfds', *JOB, ODD)
  assert cloud.starts() == ['worker0.1', 'worker1.1']
  for start in cloud.starts():
    assert cloud.arguments(start) == [
      '-u',
      'main.py',
      '--workdir=gs://bucket/run',
      '--config.dataset.data_dir=gs://bucket/tfds',
      '--config=configs/cifar_pretrain.py',
      ODD,
    ]
  assert 'job: running --workdir=gs://bucket/run' in cloud.status()
  assert 'a job is running on mine' in cloud.type('run', *JOB, code=2)[1]
  cloud.type('setup', code=1)  # not under a running job
  assert 'main.py on worker1' in cloud.type('logs', '--worker=1')[0]

  cloud.type('stop')
  assert 'job: stopped' in cloud.status()
  assert '=== exit code 143' in cloud.type('logs')[0]
  assert len(cloud.starts()) == 2


def test_the_workers_refuse_a_second_job_themselves(cloud):
  cloud.has_ready_tpu(workers=1)
  cloud.plan('wait', 'wait')
  worker = [
    'bash',
    cloud.folder / 'worker0' / 'selfie' / 'code' / 'launch' / 'worker.sh',
  ]
  environment = cloud.environment | {'HOME': str(cloud.folder / 'worker0')}
  start = [*worker, 'start', '--config=x']
  subprocess.run(start, env=environment, check=True)
  again = subprocess.run(start, env=environment, capture_output=True, text=True)
  assert again.returncode == 1
  assert 'error: a job is running' in again.stderr
  assert cloud.starts() == ['worker0.1']


def test_job_that_does_not_end_is_killed(cloud):
  cloud.has_ready_tpu(workers=1)
  cloud.plan('deaf')
  cloud.type('run', *JOB)
  said = cloud.type('stop', '--grace=1')[1]
  assert 'main.py did not end within 1 s: killed' in said
  assert 'job: stopped' in cloud.status()


def test_workdir_belongs_to_one_tpu_until_that_is_deleted(cloud):
  cloud.has_ready_tpu(workers=1)
  cloud.plan('wait')
  cloud.type('run', *JOB)
  cloud.type('stop')
  said = cloud.type(
    'run', '--name=other', '--workdir=gs://bucket/run/', *JOB, code=2
  )[1]
  assert 'gs://bucket/run belongs to the TPU ours/here/mine' in said
  assert cloud.starts() == ['worker0.1']
  mark = cloud.folder / 'bucket' / 'bucket' / 'run' / 'launched_by'
  assert mark.read_text() == 'ours/here/mine\n'
  cloud.type('delete')
  assert not mark.exists()
  assert not (cloud.folder / 'tpu').exists()


def test_resume_stops_what_runs_before_it_starts_again(cloud):
  cloud.has_ready_tpu()
  cloud.plan('wait', 'wait')
  cloud.type('run', *JOB)
  cloud.type('resume', *JOB)
  log = cloud.type('logs')[0]
  assert log.index('=== exit code 143') < log.rindex('this is main.py')
  assert len(cloud.starts()) == 4
  assert cloud.actions() == []


def test_delete_ends_the_job_first(cloud):
  cloud.has_ready_tpu()
  cloud.plan('wait')
  cloud.type('run', *JOB)
  cloud.type('delete')
  *_, stop, delete = cloud.calls('tpus')
  assert stop[-1].endswith('worker.sh stop 300')
  assert delete[3] == 'delete'
  assert 'there is no mine' in cloud.type('delete')[1]


def test_watch_starts_again_after_preemptions(cloud):
  cloud.plan('exit 143', 'preempt', 'exit 0')
  said = cloud.type(
    'watch', '--delete-when-done', *JOB, ODD, STAND_IN_WORKERS='2'
  )[1]
  assert cloud.actions() == ['create', 'scp', 'delete', 'create', 'scp'] + [
    'delete'
  ]
  assert cloud.starts() == [
    f'worker{worker}.{start}' for worker in (0, 1) for start in (1, 2, 3)
  ]
  for start in cloud.starts():
    assert cloud.arguments(start) == cloud.arguments('worker0.1')
  assert 'the job is finished' in said


def test_watch_replaces_a_queued_tpu(cloud):
  cloud.plan('preempt', 'exit 0')
  cloud.type('watch', '--queued', '--spot', *JOB)
  assert cloud.actions() == ['create', 'scp', 'delete', 'create', 'scp']
  (delete,) = cloud.calls('delete')
  assert delete[2:6] == ['queued-resources', 'delete', 'mine', '--force']


def test_watch_ends_at_a_mistake(cloud):
  cloud.has_ready_tpu()
  cloud.plan('exit 2', 'exit 0')
  said = cloud.type('watch', *JOB, code=2)[1]
  assert len(cloud.starts()) == 2
  assert 'this is main.py on worker0' in said  # the end of the log
  assert 'mine is still there and costs money' in said


def test_watch_bears_some_faults(cloud):
  cloud.has_ready_tpu(workers=1)
  cloud.plan('exit 1', 'exit 134', 'exit 0')
  cloud.type('watch', '--max-faults=1', *JOB, code=1)
  assert len(cloud.starts()) == 2
  cloud.type('watch', '--max-faults=1', *JOB)
  assert len(cloud.starts()) == 3


def test_watch_goes_on_watching_its_own_job_and_no_other(cloud):
  cloud.has_ready_tpu(workers=1)
  cloud.plan('wait')
  cloud.type('run', *JOB, ODD)
  said = cloud.type('watch', *JOB, code=2)[1]
  assert 'another job is running on mine' in said
  watch = subprocess.Popen(
    ['bash', cloud.script, 'watch', *JOB, ODD],
    env=cloud.environment,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert 'this job is running already' in watch.stderr.readline()
  cloud.type('stop')
  assert watch.wait(20) == 130
  assert 'stopped by hand' in watch.stderr.read()
  assert len(cloud.starts()) == 1


@pytest.mark.parametrize('message', ['PERMISSION_DENIED', 'no network'])
def test_no_answer_is_not_taken_for_no_tpu(cloud, message):
  (cloud.folder / 'broken').write_text(message)
  assert message in cloud.type('watch', *JOB, code=1)[1]
  cloud.type('resume', *JOB, code=1)
  assert cloud.actions() == []


def test_dry_run_prints_all_and_calls_nothing(cloud):
  said = {
    command: cloud.type(command, '--dry-run', *JOB, ODD)[0].splitlines()
    for command in ('create setup run logs stop resume watch delete').split()
  }
  assert cloud.calls() == []
  kinds = {
    command: [
      '-'.join(shlex.split(line)[3:5]) for line in lines if 'tpus' in line
    ]
    for command, lines in said.items()
  }
  assert kinds['create'] == ['tpu-vm-create', 'tpu-vm-describe']
  assert kinds['setup'] == ['tpu-vm-scp', 'tpu-vm-ssh']
  assert kinds['delete'] == ['tpu-vm-describe', 'tpu-vm-ssh', 'tpu-vm-delete']
  assert {'tpu-vm-create', 'tpu-vm-scp'} <= set(kinds['watch'])
  (start,) = [line for line in said['watch'] if 'worker.sh start' in line]
  remote = shlex.split(start)[-1].removeprefix('--command=')
  assert shlex.split(remote)[-1] == ODD


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    ([], "no such command: ''"),
    (['lunch'], "no such command: 'lunch'"),
    (['status', '--name='], 'type --name=... or set SELFIE_NAME'),
    (['status', '--zone='], 'type --zone=... or set SELFIE_ZONE'),
    (['create', '--accelerator-type='], 'type --accelerator-type='),
    (['create', '--accelerator-type=v9-8'], 'type --runtime-version='),
    (['create', '--nmae=x'], 'no such option: --nmae'),
    (['create', '--name'], '--name is no option, or lacks its value'),
    (['run', 'now'], "'now' is no option"),
    (['run', '--poll=soon', *JOB], '--poll=soon is no whole number'),
    (['run', '--workdir=runs/x', *JOB], 'type --workdir=gs://BUCKET/RUN'),
    (['run', *JOB, '--workdir=gs://b/x'], '--workdir goes before --'),
    (['run'], 'no job given: end with -- --config='),
  ],
)
def test_mistakes_are_one_line_and_call_nothing(cloud, words, message):
  said = cloud.type(*words, code=2)[1]
  assert said.startswith('error: ') and said.count('\n') == 1
  assert message in said
  assert cloud.calls() == []


def test_scripts_are_clean():
  scripts = sorted(LAUNCH.glob('*.sh'))
  assert len(scripts) == 4
  done = subprocess.run(
    [
      pathlib.Path(sysconfig.get_path('scripts')) / 'shellcheck',
      '--external-sources',
      *scripts,
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout


def test_jobset_starts_all_hosts_again_but_not_after_a_mistake():
  spec = yaml.safe_load((LAUNCH / 'gke_jobset.yaml').read_text())['spec']
  (rule,) = spec['failurePolicy']['rules']
  assert rule['action'] == 'FailJobSet'
  assert rule['onJobFailureReasons'] == ['PodFailurePolicy']
  assert spec['failurePolicy']['maxRestarts'] > 0
  job = spec['replicatedJobs'][0]['template']['spec']
  pod = job['template']['spec']
  (container,) = pod['containers']
  assert job['backoffLimit'] == 0
  (rule,) = job['podFailurePolicy']['rules']
  assert rule['action'] == 'FailJob'
  assert rule['onExitCodes'] == {
    'containerName': container['name'],
    'operator': 'In',
    'values': [2],
  }
  assert pod['restartPolicy'] == 'Never'  # podFailurePolicy asks for it
  assert pod['terminationGracePeriodSeconds'] >= 60
  rows, columns = pod['nodeSelector'][
    'cloud.google.com/gke-tpu-topology'
  ].split('x')
  chips = container['resources']['limits']['google.com/tpu']
  assert job['parallelism'] == job['completions']
  assert job['parallelism'] * chips == int(rows) * int(columns)


def test_image_holds_what_main_needs():
  lines = (LAUNCH / 'Dockerfile').read_text().splitlines()
  ignored = (LAUNCH / 'Dockerfile.dockerignore').read_text().splitlines()
  copied = [
    word
    for line in lines
    if line.startswith('COPY')
    for word in line.split()[1:-1]
  ]
  assert {'main.py', 'configs', 'selfie_jax'} <= set(copied)
  for name in copied:
    assert (ROOT / name).exists()
    assert f'!{name}' in ignored


def test_guide_names_every_command_and_the_readme_the_guide():
  guide = (ROOT / 'docs' / 'tpu.md').read_text()
  usage = (LAUNCH / 'options.sh').read_text()
  listed = usage.partition('\ncommands:\n')[2].partition('\n\n')[0]
  commands = re.findall(r'^  (\w+) ', listed, re.MULTILINE)
  assert len(commands) == 9
  for command in commands:
    assert f'tpu_vm.sh {command}' in guide
  assert 'docs/tpu.md' in (ROOT / 'README.md').read_text()

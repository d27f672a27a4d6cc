"""The SkyPilot job, the JobSet and its image: what they ask for.

`make launch-test` holds the first two against the schemas of SkyPilot and
JobSet, which are too heavy for the other tests' environment.
"""

import pathlib
import subprocess

import pytest
import yaml

LAUNCH = pathlib.Path(__file__).resolve().parents[2] / 'launch'
RUN = 'gs://bucket/run'


def load(name: str) -> dict:
  return yaml.safe_load((LAUNCH / name).read_text())


def test_sky_knows_the_job(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))  # where it writes on import
  sky = pytest.importorskip('sky', reason='needs skypilot: make launch-test')
  task = sky.Task.from_yaml_config(load('sky.yaml'), [('WORKDIR', RUN)])
  (resources,) = task.resources
  assert resources.use_spot and str(resources.cloud) == 'GCP'


def test_jobset_knows_the_manifest():
  models = pytest.importorskip(
    'kubeflow_trainer_api.models', reason='needs its models: make launch-test'
  )
  manifest = load('gke_jobset.yaml')
  # A field that it does not know would be gone.
  assert models.JobsetV1alpha2JobSet.from_dict(manifest).to_dict() == manifest


@pytest.mark.slow
def test_sky_runs_main_with_what_it_is_given(tmp_path):
  python = tmp_path / '.venv' / 'bin' / 'python'
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\nexit 143\n')
  python.chmod(0o755)
  job = load('sky.yaml')

  def run(**given):
    command = ['bash', '-euc', job['run']]
    env = job['envs'] | {'WORKDIR': RUN, 'FLAGS': '--a=1 --b=2'} | given
    done = subprocess.run(
      command, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout.splitlines()

  main = ['-u', 'main.py', f'--config={job["envs"]["CONFIG"]}']
  main += [f'--workdir={RUN}']
  assert run(DATA_DIR='') == (143, [*main, '--a=1', '--b=2'])
  data = '--config.dataset.data_dir=gs://bucket/t f'
  assert run(DATA_DIR='gs://bucket/t f')[1] == [*main, data, '--a=1', '--b=2']
  assert run(WORKDIR='runs/x')[0] == 2  # it would be lost with the machine


def test_jobs_start_again_but_not_after_a_mistake():
  """All hosts of the JobSet do; SkyPilot's job after what may pass."""
  recovery = load('sky.yaml')['resources']['job_recovery']
  assert recovery['recover_on_exit_codes'] == [75, 143]
  assert 'max_restarts_on_errors' not in recovery  # it would be after any code

  spec = load('gke_jobset.yaml')['spec']
  assert spec['failurePolicy']['maxRestarts'] == 100
  (rule,) = spec['failurePolicy']['rules']
  assert rule['action'] == 'FailJobSet'
  assert rule['onJobFailureReasons'] == ['PodFailurePolicy']
  job = spec['replicatedJobs'][0]['template']['spec']
  (rule,) = job['podFailurePolicy']['rules']
  assert rule['action'] == 'FailJob' and job['backoffLimit'] == 0
  assert rule['onExitCodes']['values'] == [2, 3]
  pod = job['template']['spec']
  assert pod['restartPolicy'] == 'Never'  # podFailurePolicy asks for it
  topology = pod['nodeSelector']['cloud.google.com/gke-tpu-topology']
  rows, columns = map(int, topology.split('x'))
  (container,) = pod['containers']
  chips = container['resources']['limits']['google.com/tpu']
  assert job['parallelism'] == job['completions'] == rows * columns // chips

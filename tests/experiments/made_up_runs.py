"""Folders of finished runs as reproduce.py finds them, without running any."""

import json
import pathlib
from unittest import mock

from selfie_jax import config as config_lib
from selfie_jax import job_flags
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import runner


def plan(experiment='cifar_labels', **changed):
  """A plan of the tiny variant: two label fractions, two seeds."""
  fractions = plan_lib.EXPERIMENTS[experiment].fractions[:2]
  seeds = (2,) * len(fractions)
  values = {'fractions': fractions, 'seeds': seeds, 'tune_seeds': (1, 1)}
  values |= {'workdir': 'runs/made_up'} | changed
  return plan_lib.Plan(experiment, 'tiny', **values)


def digits_plan(workdir, **changed):
  """Likewise on the embedded digits, with one fraction."""
  values = dict.fromkeys(
    ('fields', 'pretrain_fields'), (('dataset.name', 'digits'),)
  ) | {'fractions': (0.05,), 'seeds': (2,), 'tune_seeds': (1,)}
  return plan(**values | {'workdir': str(workdir)} | changed)


def accuracy(job):
  """Selfie ahead by 2 points, seeds half a point apart, 0.1 the best rate."""
  value = 0.4 + 0.2 * job.fraction + 0.005 * (job.seed % 100)
  value += 0.02 * (job.arm == 'selfie') + 0.03 * ('attention' in job.network)
  value -= 0.1 * abs((job.rate or 0.1) - 0.1)
  return value - 0.001 * len(job.choice)


def finish(job: plan_lib.Job, weights: str | None = 'ab12') -> pathlib.Path:
  """Leaves what main.py leaves of a finished job, but for its checkpoints."""
  folder = pathlib.Path(job.folder)
  folder.mkdir(parents=True, exist_ok=True)
  fields = [f'--config.{field}={value}' for field, value in job.fields]
  config = job_flags.read([f'--config={plan_lib.ROOT}/{job.file}', *fields])
  value = accuracy(job)
  metrics = {'test_accuracy': value, 'validation_accuracy': value + 0.01}
  if job.stage == 'pretrain':
    metrics = {'loss': 1.2, 'patch_accuracy': value, 'chance': 0.25}
  files = {
    'config': config.to_dict(),
    'data': {'train': {'images': 8, 'labels': 'ab12'}},
    'results': {
      'mode': config.mode,
      'dataset': config_lib.name_data(config),
      'checkpoint': 6,
      'weights': weights,
      'metrics': metrics,
      'images_per_second': 100.0,
      'wall_seconds': 60.0,
      'devices': {'platform': 'cpu', 'count': 2},
      'versions': {'python': '3.11', 'jax': '0.10.2'},
    },
  }
  if job.start:
    start = results_lib.fingerprint(job.start.folder) or 'ab12'
    files['run'] = {'start': f'step 6, weights {start}'}
  for name, content in files.items():
    (folder / f'{name}.json').write_text(json.dumps(content))
  return folder


def finish_all(plan: plan_lib.Plan, *stages: str, but: tuple[str, ...] = ()):
  """Finishes the jobs of these stages, all if none; returns the table."""
  for stage in stages or plan_lib.STAGES:  # cells need the chosen rates
    for job in results_lib.read(plan).job:
      if job.stage == stage and job.name not in but:
        finish(job)
  return results_lib.read(plan)


def replace_main(monkeypatch, code: int, printed: str = '') -> mock.Mock:
  """Has every job end at once so; returns what they are started with."""

  def start(words, stdout, **_):
    stdout.write(printed)
    return mock.Mock(returncode=code, poll=lambda: code)

  starting = mock.Mock(side_effect=start)
  monkeypatch.setattr(runner.subprocess, 'Popen', starting)
  return starting

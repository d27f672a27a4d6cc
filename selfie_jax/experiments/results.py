"""The runs of a plan as a table: read from their folders and from runs.jsonl.

With --results each run that has ended becomes a line of
RESULTS/EXPERIMENT/runs.jsonl, without its weights and this machine's paths, and
counts as finished from then on.
"""

from collections.abc import Iterable
import json
from typing import Any

from etils import epath
import pandas as pd

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax import job_flags
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import statistics
from selfie_jax.storage import identity
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

MACHINE = run_metadata.MACHINE_FIELDS

_OF_JOB = ('name', 'stage', 'arm', 'network', 'fraction', 'seed', 'choice')
_OF_RUN = (
  'dataset', 'checkpoint', 'images_per_second', 'wall_seconds', 'devices',
  'versions', 'weights', 'metrics',
)  # fmt: skip
_METRICS = ('patch_accuracy', 'chance', 'validation_accuracy', 'test_accuracy')

Row = dict[str, Any]


def read(plan: plan_lib.Plan, path: epath.Path | None = None) -> pd.DataFrame:
  """A row for each job of the plan: its fields, metrics and state.

  `finished` runs have metrics; `ended` also are rates that diverged. `row` is
  what runs.jsonl, at `path` with --results, has of a run, `failure` the last
  line of a failed attempt.

  Raises:
    UserError: a run has another config or another pretraining than the plan,
      plan.pretrained is no finished pretraining, two pretrainings are the same,
      two runs are on other images, or runs.jsonl is damaged.
  """
  if plan.pretrained and not fingerprint(plan.pretrained):
    raise errors.UserError(
      f'--pretrained={plan.pretrained} is no finished pretraining run: give '
      'the folder of one, with its config.json, results.json and checkpoints'
    )
  stored = _read_stored(path)
  rows: list[Row] = []

  def extended(jobs: list[plan_lib.Job]) -> pd.DataFrame:
    for job in jobs:
      row = {} if job.needs_rate else stored.get(job.name) or _read_run(job)
      is_stored = job.name in stored
      place = f'{path}: {job.name}' if is_stored else job.folder
      _check(plan, job, row, place, stored)
      rows.append(_describe(job, row))
    _check_same_data(rows)
    return pd.DataFrame(rows).astype(dict.fromkeys(_METRICS, float))

  starts = extended(plan.pretrainings()).dropna(subset='weights')
  twins = starts.name[starts.duplicated('weights', keep=False)]
  if plan.pretrain_seeds > 1 and len(twins):
    raise errors.UserError(
      f'{" and ".join(twins)} have the same weights, so they do not count as '
      f'{len(twins)}: give --pretrained and --pretrain_set other seeds than '
      f'1 to {plan.pretrain_seeds - 1}, which the others have'
    )
  tried = extended(plan.tunings())
  return extended(plan.cells(statistics.choose_rates(plan, tried)))


def save(runs: pd.DataFrame, path: epath.Path | None) -> None:
  """Adds those runs of a table that have ended to runs.jsonl, if there is one.

  Raises:
    UserError: it cannot be written.
  """
  stored = _read_stored(path)
  if path and {*runs.name[runs.ended]} - stored.keys():
    stored |= {row['name']: row for row in runs.row[runs.ended]}
    _write_lines(path, stored.values())


def pending(runs: pd.DataFrame, stage: str = 'all') -> list[plan_lib.Job]:
  """What is left to run; a pretraining also if only its weights are gone."""
  left = [*runs.job[~runs.ended]]
  starts = [job.start for job in left if job.start]
  lost = [job for job in starts if not fingerprint(job.folder)]
  jobs = [job for job in runs.job if job in left + lost]
  return [job for job in jobs if stage in ('all', job.stage)]


def fingerprint(folder: str) -> str | None:
  """Checksum of a pretraining's weights; None if none is finished there."""
  is_run = workdir_lib.exists(epath.Path(folder) / 'config.json')
  results = is_run and _read(folder, 'results.json') or {}
  return results.get('weights') if results.get('mode') == 'pretrain' else None


def _describe(job: plan_lib.Job, row: Row) -> Row:
  """The row of the table of a job whose run, if there is one, is `row`."""
  failure = row.get('failure', {})
  diverged = failure.get('code') == errors.Diverged.exit_code
  empty = dict.fromkeys((*_METRICS, *_OF_RUN))
  return empty | vars(job) | row | row.get('metrics', {}) | {
    'job': job,
    'row': row,
    'rate': row.get('config', {}).get('optimizer.learning_rate', job.rate),
    'failure': failure.get('line'),
    'finished': 'metrics' in row,
    'ended': 'metrics' in row or (diverged and job.stage == 'tune'),
  }  # fmt: skip


def _read_run(job: plan_lib.Job) -> Row:
  """The run in a job's folder; {} if it was never started.

  It has 'metrics' if it is finished, 'failure' if its last attempt failed, and
  a flat 'config' unless it failed before there was one.
  """
  config = identity.load_config(epath.Path(job.folder))
  failure = _read(job.folder, run_metadata.FAILURE)
  if config is None and failure is None:
    return {}
  row = {name: vars(job)[name] for name in _OF_JOB}
  if config is not None:
    flat = config_lib.flatten(config)
    row['config'] = {f: v for f, v in flat.items() if f not in MACHINE}
    data = run_metadata.load(epath.Path(job.folder), 'data.json') or {}
    row['data'] = {
      split: {name: identity.digest(value) for name, value in each.items()}
      for split, each in data.items()
    }
    if job.start:
      start = (_read(job.folder, identity.FILE) or {}).get('start', '')
      row['pretraining'] = (
        start.partition('weights ')[2]
        or fingerprint(config.init_from)
        or fingerprint(job.start.folder)
      )
  if results := _read(job.folder, 'results.json'):
    row |= {name: results.get(name) for name in _OF_RUN}
  elif failure:
    row['failure'] = failure
  return row


def _check(
  plan: plan_lib.Plan,
  job: plan_lib.Job,
  row: Row,
  place: str,
  stored: dict[str, Row],
) -> None:
  """Raises UserError if a row is the run of another recipe or pretraining."""
  if 'config' not in row:
    return
  expected = job_flags.read_flat(job.file, job.fields)
  changed = run_metadata.differences(row['config'], expected, MACHINE)
  data = config_lib.name_data(expected)
  if row.get('dataset', data) != data:
    changed['images'] = row['dataset'], data
  if job.folder == plan.pretrained:
    # The only start may be of any recipe with what --pretrain_set asks for.
    fixed = {field for field, _ in plan.pretrain_fields}
    if plan.spec.is_ablation or plan.pretrain_seeds > 1:
      fixed = {*changed}
      if row['config']['seed'] not in range(1, plan.pretrain_seeds):
        fixed -= {'seed'}  # its own, which no other has
    changed = {name: each for name, each in changed.items() if name in fixed}
  weights = row.get('pretraining' if job.start else 'weights')
  start = job.start or job
  ours = fingerprint(start.folder) or stored.get(start.name, {}).get('weights')
  if weights and ours and weights != ours:
    changed['pretraining'] = weights, ours
  if changed:
    named = [f'{f} ({old} -> {new})' for f, (old, new) in changed.items()]
    raise errors.UserError(
      f'{place} is a run with another config: {", ".join(named)}. Type the '
      'flags it was begun with (--pretrained=DIR for its own pretraining), '
      'remove it, or give another --workdir and --results'
    )


def _check_same_data(rows: list[Row]) -> None:
  """Raises UserError if two pretrainings, or two others, have other images."""
  first: dict[bool, Row] = {}
  for row in rows:
    if data := row.get('data'):
      start = first.setdefault(row['stage'] == 'pretrain', row)
      if changed := run_metadata.data_differences(start['data'], data):
        raise errors.UserError(
          f'{start["name"]} and {row["name"]} are runs on other images '
          f'({", ".join(changed)} differ), and cannot be in one table. Remove '
          'one of them, or give another --workdir and --results'
        )


def _read(folder: str, name: str) -> Any:
  """What a JSON file of a run holds; None if it is not there."""
  remedy = f'delete {folder} to have the job run again'
  return workdir_lib.read_json(epath.Path(folder) / name, remedy)


def _read_stored(path: epath.Path | None) -> dict[str, Row]:
  text = workdir_lib.read_text(path) if path else None
  stored: dict[str, Row] = {}
  for number, line in enumerate((text or '').splitlines(), 1):
    try:
      row = json.loads(line)
      if stored.setdefault(row['name'], row) != row:
        raise ValueError(f'{row["name"]} is there twice, with other numbers')
    except (ValueError, KeyError, TypeError) as error:
      raise errors.UserError(
        f'{path} is damaged in line {number} ({error}); put back its copy, or '
        'delete the line'
      ) from error
  return stored


def _write_lines(path: epath.Path, values: Iterable[Any]) -> None:
  workdir_lib.make(path.parent)
  workdir_lib.write(path, ''.join(json.dumps(v) + '\n' for v in values))

"""What the runs of a plan came to: a table with a row for each.

With --results each run that has ended becomes a line of
RESULTS/EXPERIMENT/runs.jsonl, without its weights and this machine's paths, and
counts as finished from then on. A run that the table of another experiment has
already is read from there, not stored again.
"""

from collections.abc import Iterable
import json
from typing import Any

from etils import epath
import pandas as pd

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import tuning
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

TABLE = 'runs.jsonl'
FAILURE = 'failure.json'  # of a run's last attempt: {'code', 'line'}
PRETRAINING = 'pretraining.json'  # checksum of the weights it started from

_OF_JOB = ['name', 'stage', 'arm', 'network', 'fraction', 'seed', 'choice']
_OF_RUN = ['checkpoint', 'images_per_second', 'wall_seconds', 'devices']
_OF_RUN += ['versions', 'weights', 'metrics']
_METRICS = ['patch_accuracy', 'chance', 'validation_accuracy', 'test_accuracy']
_STATE = ['job', 'rate', 'waits', 'finished', 'ended', 'failure']

Row = dict[str, Any]


class Results:
  """The runs of a plan, in its workdir and in the tables of --results.

  UserError if plan.pretrained is no finished pretraining or a table is damaged.
  """

  def __init__(self, plan: plan_lib.Plan, results: str | None = None):
    parent = epath.Path(results or f'{plan.workdir}/reports')
    self.folder = parent / plan.title  # of the report and the table
    self._plan, self._path = plan, self.folder / TABLE
    paths = [self._path, *sorted(parent.glob(f'*/{TABLE}'))] if results else []
    self._tables = {path: _read_table(path) for path in paths}
    if plan.pretrained and not fingerprint(plan.pretrained):
      raise errors.UserError(
        f'--pretrained={plan.pretrained} is no finished pretraining run: give '
        'the folder of one, with its config.json, results.json and checkpoints'
      )

  def table(self) -> pd.DataFrame:
    """A row for each job of the plan, with the Job itself in the column 'job'.

    `finished` runs have metrics; `ended` also are rates that diverged.

    Raises:
      UserError: a run is of another recipe or from another pretraining, and
        what differs is named; or a field of the plan is not valid.
    """
    jobs = self._plan.pretrainings() + self._plan.tunings()
    rates = tuning.choose(self._plan, self._table_of(jobs))
    return self._table_of(jobs + self._plan.cells(rates))

  def store(self, job: plan_lib.Job) -> Row:
    """Adds a run that has ended to the table; returns its row."""
    row, table = _read_run(job), self._tables.get(self._path)
    if table is not None and has_ended(row) and not self._stored(job):
      table[job.name] = row
      _write(self._path, table.values())
    return row

  def _table_of(self, jobs: Iterable[plan_lib.Job]) -> pd.DataFrame:
    rows = []
    for job in jobs:
      row = self._row(job)
      rows.append(vars(job) | {'config': {}} | row | row.get('metrics', {}))
      rows[-1] |= {'job': job, 'failure': row.get('failure', {}).get('line')}
      rows[-1] |= {'finished': 'metrics' in row, 'ended': has_ended(row)}
      if 'config' in row:
        rows[-1]['rate'] = row['config']['optimizer.learning_rate']
    columns = _OF_JOB + _OF_RUN + _METRICS + _STATE + ['config', 'history']
    made = pd.DataFrame(rows, columns=columns)
    return made.astype(dict.fromkeys(_METRICS, float))

  def _row(self, job: plan_lib.Job) -> Row:
    """The stored run of a job, or what there is in its folder; {} for nothing.

    It has 'metrics' if it is finished, 'failure' if its last attempt failed,
    and a flat 'config' unless it failed before there was one. What waits for
    its learning rate is no run yet, whatever an earlier grid has left there.
    """
    if job.waits:
      return {}
    own = self._tables.get(self._path, {}).get(job.name, {})
    here = _read_run(job)
    for place, row in ((job.folder, here), (f'{self._path}: {job.name}', own)):
      if changed := self._differences(job, row):
        raise errors.UserError(
          f'{place} is a run with another config: {", ".join(changed)}. Type '
          'the flags it was begun with (--pretrained=DIR for its own '
          'pretraining), remove it, or give another --workdir'
          + (' and --results' if own else '')
        )
    return self._stored(job) or here

  def _stored(self, job: plan_lib.Job) -> Row | None:
    rows = [t[job.name] for t in self._tables.values() if job.name in t]
    return next((row for row in rows if not self._differences(job, row)), None)

  def _differences(self, job: plan_lib.Job, row: Row) -> list[str]:
    """What keeps a row from being the job's run, in words."""
    if 'config' not in row:
      return []
    expected = recipes.fields_of(job.config, job.fields)
    if job.folder == self._plan.pretrained:
      given = run_metadata.load_config(epath.Path(job.folder))
      expected = config_lib.flatten(given)
    changed = run_metadata.differences(row['config'], expected, recipes.PLACES)
    pretraining = job.start or job
    its = row['pretraining'] if job.start else row.get('weights')
    ours = fingerprint(pretraining.folder)
    if job.start and not ours:
      ours = (self._stored(pretraining) or {}).get('weights')
    if its and ours and its != ours:
      changed['pretraining'] = its, ours
    return [f'{f} ({old} -> {new})' for f, (old, new) in changed.items()]


def begin(job: plan_lib.Job) -> None:
  """Makes the folder of a run that is about to be started."""
  folder = epath.Path(job.folder)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / FAILURE).unlink(missing_ok=True)
  if job.start and not (folder / PRETRAINING).exists():
    _write(folder / PRETRAINING, [fingerprint(job.start.folder)])


def fail(job: plan_lib.Job, code: int, line: str) -> None:
  """Notes with which exit code a run has failed, and why."""
  _write(epath.Path(job.folder) / FAILURE, [{'code': code, 'line': line}])


def fingerprint(folder: str) -> str | None:
  """Checksum of a pretraining's weights; None if none is finished there."""
  is_run = (epath.Path(folder) / 'config.json').exists()
  results = is_run and _read(folder, 'results.json') or {}
  return results.get('weights') if results.get('mode') == 'pretrain' else None


def has_ended(row: Row) -> bool:
  """Whether there is nothing left to run: learning rates may diverge."""
  diverged = row.get('failure', {}).get('code') == errors.Diverged.exit_code
  return 'metrics' in row or (diverged and row['stage'] == 'tune')


def step(job: plan_lib.Job) -> int:
  """How far a run is, by the evaluations that it has written."""
  rows = _read(job.folder, 'history.json') or []
  return max((row['step'] for row in rows), default=0)


def _read_run(job: plan_lib.Job) -> Row:
  """The row of a run in its folder."""
  config = run_metadata.load_config(epath.Path(job.folder))
  failure = _read(job.folder, FAILURE)
  if config is None and failure is None:
    return {}
  row = {name: vars(job)[name] for name in _OF_JOB}
  if config is not None:
    flat = config_lib.flatten(config)
    row['config'] = {f: v for f, v in flat.items() if f not in recipes.PLACES}
    if job.start:
      row['pretraining'] = (
        _read(job.folder, PRETRAINING)
        or fingerprint(config.init_from)
        or fingerprint(job.start.folder)
      )
  if results := _read(job.folder, 'results.json'):
    row |= {name: results.get(name) for name in _OF_RUN}
    rows = _read(job.folder, 'history.json') or []
    row['history'] = [each for each in rows if each['part'] != 'train']
  elif failure:
    row['failure'] = failure
  return row


def _read(folder: str, name: str) -> Any:
  """What a JSON file of a run holds; None if it is not there."""
  remedy = f'delete {folder} to have the job run again'
  return workdir_lib.read_json(epath.Path(folder) / name, remedy)


def _read_table(path: epath.Path) -> dict[str, Row]:
  try:
    lines = path.read_text().splitlines() if path.exists() else []
    return {row['name']: row for row in map(json.loads, lines)}
  except (ValueError, KeyError) as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); put back its copy, or delete the line'
    ) from error


def _write(path: epath.Path, rows: Iterable[Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  workdir_lib.write(path, ''.join(json.dumps(row) + '\n' for row in rows))

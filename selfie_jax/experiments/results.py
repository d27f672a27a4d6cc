"""What the runs of a plan came to: a table with a row for each.

With --results each run that has ended becomes a line of
RESULTS/EXPERIMENT/runs.jsonl, without its weights and this machine's paths, and
counts as finished from then on. A run that the table of another experiment has
already is read from there, not stored again.
"""

from collections.abc import Iterable
import functools
import json
from typing import Any

from etils import epath
import pandas as pd

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.storage import fingerprint
from selfie_jax.storage import saved_job
from selfie_jax.storage import workdir as workdir_lib

TABLE = 'runs.jsonl'
FAILURE = 'failure.json'  # of a run's last attempt: {'code', 'line'}
PRETRAINING = 'pretraining.json'  # the fingerprint of what a run started from
DIVERGED = 3  # main.py's exit code

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
    paths = {*parent.glob(f'*/{TABLE}'), self.folder / TABLE} if results else ()
    self._others = {path: _read_table(path) for path in sorted(paths)}
    self._rows = self._others.pop(self.folder / TABLE, None)
    self._given = plan.pretrained
    if self._given and not fingerprint.of_run(self._given):
      raise errors.UserError(
        f'--pretrained={self._given} is no finished pretraining run: give the '
        'folder of one, with its config.json, results.json and checkpoints'
      )

  def row(self, job: plan_lib.Job) -> Row:
    """A stored run, or what there is in its folder; {} for nothing.

    It has 'metrics' if it is finished, 'failure' if its last attempt failed,
    and a flat 'config' unless it failed before there was one.
    """
    return self._stored(job) or _read_run(job)

  def table(self, jobs: Iterable[plan_lib.Job]) -> pd.DataFrame:
    """A row for each job, with the Job itself in the column 'job'.

    `finished` runs have metrics; `ended` also are rates that diverged.
    """
    rows = []
    for job in jobs:
      row = self.row(job)
      rows.append(vars(job) | {'config': {}} | row | row.get('metrics', {}))
      rows[-1] |= {'job': job, 'failure': row.get('failure', {}).get('line')}
      rows[-1] |= {'finished': 'metrics' in row, 'ended': _has_ended(row)}
      if 'config' in row:
        rows[-1]['rate'] = row['config']['optimizer.learning_rate']
    columns = _OF_JOB + _OF_RUN + _METRICS + _STATE + ['config', 'history']
    made = pd.DataFrame(rows, columns=columns)
    return made.astype(dict.fromkeys(_METRICS, float))

  def check(self, jobs: Iterable[plan_lib.Job]) -> None:
    """Refuses to mix runs of another recipe or pretraining into the plan's.

    A UserError names what differs, or a field of the plan that is not valid.
    """
    for job in jobs:
      stored = (self._rows or {}).get(job.name, {})
      for place, row in (
        (job.folder, _read_run(job)),
        (f'{self.folder / TABLE}: {job.name}', stored),
      ):
        if changed := self._differences(job, row):
          raise errors.UserError(
            f'{place} is a run with another config: {", ".join(changed)}. Type '
            'the flags it was begun with (--pretrained=DIR for its own '
            'pretraining), remove it, or give another --workdir'
            + (' and --results' if stored else '')
          )

  def begin(self, job: plan_lib.Job) -> None:
    """Makes the folder of a run that is about to be started."""
    folder = epath.Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).unlink(missing_ok=True)
    if job.start and not (folder / PRETRAINING).exists():
      _write(folder / PRETRAINING, [fingerprint.of_run(job.start.folder)])

  def store(self, job: plan_lib.Job) -> None:
    """Adds a run that has ended to the table."""
    row = _read_run(job)
    if self._rows is not None and _has_ended(row) and not self._stored(job):
      self._rows[job.name] = row
      _write(self.folder / TABLE, self._rows.values())

  def _stored(self, job: plan_lib.Job) -> Row | None:
    if job.name in (self._rows or {}):
      return self._rows[job.name]
    rows = [t[job.name] for t in self._others.values() if job.name in t]
    return next((row for row in rows if not self._differences(job, row)), None)

  def _differences(self, job: plan_lib.Job, row: Row) -> list[str]:
    """What keeps a row from being the job's run, in words."""
    expected = _fields_of(job.config, job.fields)
    if job.folder == self._given:
      expected = config_lib.flatten(
        saved_job.load_config(epath.Path(self._given))
      )
    if 'config' not in row:
      return []
    changed = config_lib.differences(row['config'], expected, recipes.PLACES)
    its = row['pretraining'] if job.start else fingerprint.of_row(row)
    pretraining = job.start or job
    ours = fingerprint.of_run(pretraining.folder)
    if job.start and not ours:
      ours = fingerprint.of_row(self._stored(pretraining) or {})
    if its and ours and not fingerprint.is_same(its, ours):
      changed['pretraining'] = its, ours
    return [f'{f} ({old} -> {new})' for f, (old, new) in changed.items()]


def fail(job: plan_lib.Job, code: int, line: str) -> None:
  """Notes with which exit code a run has failed, and why."""
  _write(epath.Path(job.folder) / FAILURE, [{'code': code, 'line': line}])


def is_here(start: plan_lib.Job) -> bool:
  """Whether others can start from this pretraining."""
  return fingerprint.of_run(start.folder) is not None


def step(job: plan_lib.Job) -> int:
  """How far a run is, by the evaluations that it has written."""
  rows = fingerprint.read(f'{job.folder}/history.json') or []
  return max((row['step'] for row in rows), default=0)


def _read_run(job: plan_lib.Job) -> Row:
  """The row of a run in its folder."""
  folder = epath.Path(job.folder)
  config, failure = (
    saved_job.load_config(folder),
    fingerprint.read(folder / FAILURE),
  )
  if config is None and failure is None:
    return {}
  row = {name: vars(job)[name] for name in _OF_JOB}
  if config is not None:
    flat = config_lib.flatten(config)
    row['config'] = {f: v for f, v in flat.items() if f not in recipes.PLACES}
    if job.start:
      row['pretraining'] = (
        fingerprint.read(folder / PRETRAINING)
        or fingerprint.of_run(config.init_from)
        or fingerprint.of_run(job.start.folder)
      )
  if results := fingerprint.read(folder / 'results.json'):
    row |= {name: results.get(name) for name in _OF_RUN}
    rows = fingerprint.read(folder / 'history.json') or []
    row['history'] = [each for each in rows if each['part'] != 'train']
  elif failure:
    row['failure'] = failure
  return row


def _has_ended(row: Row) -> bool:
  """Whether there is nothing left to run: learning rates may diverge."""
  diverged = row.get('failure', {}).get('code') == DIVERGED
  return 'metrics' in row or (diverged and row['stage'] == 'tune')


@functools.cache
def _fields_of(config: str, fields: plan_lib.Fields) -> Row:
  return recipes.fields_of(config, fields)


def _read_table(path: epath.Path) -> dict[str, Row]:
  try:
    lines = path.read_text().splitlines() if path.exists() else []
    return {row['name']: row for row in map(json.loads, lines)}
  except (ValueError, KeyError) as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); put back its copy, or delete the line'
    ) from error


def _write(path: epath.Path, rows: Iterable[Row]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  workdir_lib.write(path, ''.join(json.dumps(row) + '\n' for row in rows))

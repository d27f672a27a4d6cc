"""The runs of a plan: read from their folders and from runs.jsonl.

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
from selfie_jax.experiments import job as job_lib
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import statistics
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

FAILURE = 'failure.json'  # of a run's last attempt: {'code', 'line'}
PRETRAINING = 'pretraining.json'  # checksum of the weights it started from
# Where things are on one machine; no number depends on them.
MACHINE_FIELDS = ('init_from', 'dataset.data_dir', 'dataset.path')

_OF_JOB = ('name', 'stage', 'arm', 'network', 'fraction', 'seed', 'choice')
_OF_RUN = (
  'checkpoint', 'images_per_second', 'wall_seconds', 'devices', 'versions',
  'weights', 'metrics',
)  # fmt: skip
_METRICS = ('patch_accuracy', 'chance', 'validation_accuracy', 'test_accuracy')

Row = dict[str, Any]


class Results:
  """Reads the runs of a plan, and keeps them in runs.jsonl with --results.

  Raises:
    UserError: plan.pretrained is no finished pretraining, or runs.jsonl is
      damaged.
  """

  def __init__(self, plan: plan_lib.Plan, results: str = ''):
    parent = epath.Path(results or f'{plan.workdir}/reports')
    self.folder = parent / plan.title  # of the report and runs.jsonl
    self._plan, self._path = plan, self.folder / 'runs.jsonl'
    self._stored = _read_stored(self._path) if results else {}
    self._is_kept = bool(results)
    if plan.pretrained and not fingerprint(plan.pretrained):
      raise errors.UserError(
        f'--pretrained={plan.pretrained} is no finished pretraining run: give '
        'the folder of one, with its config.json, results.json and checkpoints'
      )

  def table(self) -> pd.DataFrame:
    """A row for each job of the plan: its fields, metrics and state.

    `finished` runs have metrics; `ended` also are rates that diverged. `row` is
    what runs.jsonl has of a run, `failure` the last line of a failed attempt.

    Raises:
      UserError: a run has another config or another pretraining than the plan.
    """
    jobs = self._plan.pretrainings() + self._plan.tunings()
    rates = statistics.choose_rates(self._plan, self._table_of(jobs))
    return self._table_of(jobs + self._plan.cells(rates))

  def save(self, runs: pd.DataFrame) -> None:
    """Adds those runs of a table that have ended to runs.jsonl."""
    if self._is_kept and {*runs.name[runs.ended]} - self._stored.keys():
      self._stored |= {row['name']: row for row in runs.row[runs.ended]}
      _write_lines(self._path, self._stored.values())

  def _table_of(self, jobs: list[job_lib.Job]) -> pd.DataFrame:
    empty = dict.fromkeys((*_METRICS, *_OF_RUN, 'history', 'failure'))
    rows = []
    for job in jobs:
      row = self._row(job)
      config, failure = row.get('config', {}), row.get('failure', {})
      rows.append(empty | vars(job) | row | row.get('metrics', {}))
      rows[-1] |= {'job': job, 'row': row, 'failure': failure.get('line')}
      rows[-1] |= {'finished': 'metrics' in row, 'ended': _has_ended(row)}
      rows[-1]['rate'] = config.get('optimizer.learning_rate', job.rate)
    return pd.DataFrame(rows).astype(dict.fromkeys(_METRICS, float))

  def _row(self, job: job_lib.Job) -> Row:
    """The stored run of a job, or what is in its folder; {} for nothing.

    It has 'metrics' if it is finished, 'failure' if its last attempt failed,
    and a flat 'config' unless it failed before there was one.
    """
    if job.needs_rate:  # whatever an earlier grid has left there
      return {}
    stored, here = self._stored.get(job.name, {}), _read_run(job)
    places = {job.folder: here, f'{self._path}: {job.name}': stored}
    for place, row in places.items():
      if changed := self._differences(job, row):
        named = [f'{f} ({old} -> {new})' for f, (old, new) in changed.items()]
        raise errors.UserError(
          f'{place} is a run with another config: {", ".join(named)}. Type '
          'the flags it was begun with (--pretrained=DIR for its own '
          'pretraining), remove it, or give another --workdir'
          + (' and --results' if self._is_kept else '')
        )
    return stored or here

  def _differences(self, job: job_lib.Job, row: Row) -> dict[str, tuple]:
    """{field: (of the row, of the job)} that keep a row from being its run."""
    if 'config' not in row:
      return {}
    expected = job.config()
    if job.folder == self._plan.pretrained:
      given = run_metadata.load_config(epath.Path(job.folder))
      expected = config_lib.flatten(given)
    changed = run_metadata.differences(row['config'], expected, MACHINE_FIELDS)
    pretraining = job.start or job
    weights = row['pretraining'] if job.start else row.get('weights')
    stored = self._stored.get(pretraining.name, {}) if job.start else {}
    ours = fingerprint(pretraining.folder) or stored.get('weights')
    if weights and ours and weights != ours:
      changed['pretraining'] = weights, ours
    return changed


def pending(runs: pd.DataFrame, stage: str = 'all') -> list[job_lib.Job]:
  """What is left to run; a pretraining also if only its weights are gone."""
  left = [*runs.job[~runs.ended]]
  starts = [job.start for job in left if job.start]
  lost = [job for job in starts if not fingerprint(job.folder)]
  jobs = [job for job in runs.job if job in left + lost]
  return [job for job in jobs if stage in ('all', job.stage)]


def begin(job: job_lib.Job) -> None:
  """Makes the folder of a run that is about to be started."""
  folder = epath.Path(job.folder)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / FAILURE).unlink(missing_ok=True)
  if job.start and not (folder / PRETRAINING).exists():
    _write_lines(folder / PRETRAINING, [fingerprint(job.start.folder)])


def fail(job: job_lib.Job, code: int, line: str) -> None:
  """Notes with which exit code a run has failed, and why."""
  folder = epath.Path(job.folder)
  folder.mkdir(parents=True, exist_ok=True)
  _write_lines(folder / FAILURE, [{'code': code, 'line': line}])


def fingerprint(folder: str) -> str | None:
  """Checksum of a pretraining's weights; None if none is finished there."""
  is_run = (epath.Path(folder) / 'config.json').exists()
  results = is_run and _read(folder, 'results.json') or {}
  return results.get('weights') if results.get('mode') == 'pretrain' else None


def _has_ended(row: Row) -> bool:
  """Whether there is nothing left to run: learning rates may diverge."""
  diverged = row.get('failure', {}).get('code') == errors.Diverged.exit_code
  return 'metrics' in row or (diverged and row['stage'] == 'tune')


def _read_run(job: job_lib.Job) -> Row:
  """The row of the run in a job's folder; {} if it was never started."""
  config = run_metadata.load_config(epath.Path(job.folder))
  failure = _read(job.folder, FAILURE)
  if config is None and failure is None:
    return {}
  row = {name: vars(job)[name] for name in _OF_JOB}
  if config is not None:
    flat = config_lib.flatten(config)
    row['config'] = {f: v for f, v in flat.items() if f not in MACHINE_FIELDS}
    if job.start:
      row['pretraining'] = (
        _read(job.folder, PRETRAINING)
        or fingerprint(config.init_from)
        or fingerprint(job.start.folder)
      )
  if results := _read(job.folder, 'results.json'):
    row |= {name: results.get(name) for name in _OF_RUN}
    history = _read(job.folder, 'history.json') or []
    row['history'] = [each for each in history if each['part'] != 'train']
  elif failure:
    row['failure'] = failure
  return row


def _read(folder: str, name: str) -> Any:
  """What a JSON file of a run holds; None if it is not there."""
  remedy = f'delete {folder} to have the job run again'
  kind = list if name == 'history.json' else dict
  return workdir_lib.read_json(epath.Path(folder) / name, remedy, kind)


def _read_stored(path: epath.Path) -> dict[str, Row]:
  try:
    lines = path.read_text().splitlines() if path.exists() else []
    return {row['name']: row for row in map(json.loads, lines)}
  except (ValueError, KeyError) as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); put back its copy, or delete the line'
    ) from error


def _write_lines(path: epath.Path, values: Iterable[Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  workdir_lib.write(path, ''.join(json.dumps(v) + '\n' for v in values))

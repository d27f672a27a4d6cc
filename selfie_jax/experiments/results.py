"""What the jobs of an experiment have left behind, in two places.

The workdir has the runs themselves. The results folder, which may be kept in
the repository, has of each finished run results.json, config.json and the
evaluations in history.json, without checkpoints and without this machine's
paths; a job that is finished there counts as finished.
"""

from collections.abc import Iterable
import dataclasses
import json
import logging
import os
from typing import Any

from etils import epath

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.storage import saved_job
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

FAILED = 'failed.txt'  # in a run's folder: the line that it ended with
_NOT_FINITE = 'is not finite'  # see reporting.py


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How far a job has come.

  Attributes:
    results: what results.json holds; None before the end.
    history: rows {'step', 'part', metric: value}, evaluations only.
    config: flat, {'model.width': 64}; None before the start.
    failure: the line that its last attempt ended with, or ''.
  """

  results: dict[str, Any] | None = None
  history: tuple[dict[str, Any], ...] = ()
  config: dict[str, Any] | None = None
  failure: str = ''

  @property
  def diverged(self) -> bool:
    return self.results is None and _NOT_FINITE in self.failure


class Folders:
  """Where the jobs of a plan run and what they have left.

  Attributes:
    workdir: has a folder for each job.
    results: the gathered folder, or None.
    plan: the plan.
  """

  def __init__(
    self,
    plan: plan_lib.Plan,
    workdir: str,
    results: str | None = None,
    pretrained: str | None = None,
  ):
    """Args: see the flags --workdir, --results and --pretrained.

    Raises:
      UserError: `pretrained` is no finished pretraining.
    """
    self.workdir = workdir_lib.run_path(workdir)
    self.results = results and workdir_lib.run_path(results) / plan.title
    self.plan = plan
    self._pretrained = pretrained and workdir_lib.run_path(pretrained)
    if self._pretrained:
      found = _read(self._pretrained)
      if not found.results or found.results['mode'] != 'pretrain':
        raise errors.UserError(
          f'--pretrained={pretrained} is no finished pretraining run: give the '
          'folder of one, with its config.json, results.json and checkpoints'
        )

  def run(self, job: plan_lib.Job) -> epath.Path:
    """The folder in which a job runs."""
    return self._of(job.name)

  def fields(self, job: plan_lib.Job) -> list[tuple[str, str]]:
    """The fields of a job, with the place it starts from."""
    start = [('init_from', _short(self._of(job.start)))] if job.start else []
    return [*job.fields, *start]

  def command(self, job: plan_lib.Job) -> str:
    """What to type for a job."""
    return recipes.command(
      job.config, self.fields(job), _short(self._of(job.name))
    )

  def outcome(self, job: plan_lib.Job) -> Outcome:
    """From the workdir, or else from the results folder."""
    here = _read(self.run(job))
    if here.results or here.diverged or not self.results:
      return here
    gathered = _read(self.results / job.name)
    return gathered if gathered.config else here

  def is_done(self, job: plan_lib.Job) -> bool:
    """Whether there is nothing left to run: learning rates may diverge."""
    found = self.outcome(job)
    return bool(found.results) or (job.stage == 'tune' and found.diverged)

  def has_weights(self, job: plan_lib.Job) -> bool:
    """Whether others can start from this pretraining."""
    return _read(self.run(job)).results is not None

  def check(self, jobs: Iterable[plan_lib.Job]) -> None:
    """Refuses to mix runs of another recipe into the plan's.

    Raises:
      UserError: a job's folder holds a run with another config; the fields
        that differ are named. Or a field of the plan is not valid.
    """
    for job in jobs:
      expected = self._expected(job)
      places = [self.run(job)]
      if self.results:
        places.append(self.results / job.name)
      for place in places:
        self._check(job, place, expected)

  def gather(self, job: plan_lib.Job) -> None:
    """Copies what is worth keeping of a run that has ended."""
    if not self.results:
      return
    found, target = _read(self.run(job)), self.results / job.name
    if not (found.results or (job.stage == 'tune' and found.diverged)):
      return
    kept = _read(target)
    if kept.results:
      if found.results and found.results['metrics'] != kept.results['metrics']:
        logger.warning(
          '%s gave %s here, %s in %s, which is kept',
          job.name,
          found.results['metrics'],
          kept.results['metrics'],
          target,
        )
      return
    target.mkdir(parents=True, exist_ok=True)
    config = json.loads((self.run(job) / 'config.json').read_text())
    config['dataset'] |= {'data_dir': '', 'path': ''}
    if job.start:
      config['init_from'] = job.start
    _write(target / 'config.json', config)
    if found.results:
      _write(target / 'history.json', found.history, indent=None)
      start = {'initialised_from': job.start or None}
      _write(target / 'results.json', found.results | start)
    else:
      (target / FAILED).write_text(found.failure + '\n')

  def _of(self, name: str) -> epath.Path:
    if name == plan_lib.PRETRAIN and self._pretrained:
      return self._pretrained
    return self.workdir / name

  def _expected(self, job: plan_lib.Job) -> dict[str, Any]:
    if job.name == plan_lib.PRETRAIN and self._pretrained:
      return _read(self._pretrained).config
    return recipes.fields_of(job.config, self.fields(job))

  def _check(self, job, place: epath.Path, expected: dict[str, Any]) -> None:
    saved = _read(place).config
    if saved is None:
      return
    changed = [
      f'{field} ({old} -> {new})'
      for field, (old, new) in recipes.differences(saved, expected).items()
    ]
    if job.start and not self._is_start(job, saved['init_from']):
      changed.append(
        f'init_from ({saved["init_from"]} -> {expected["init_from"]})'
      )
    if changed:
      raise errors.UserError(
        f'{place} holds a run with another config: {", ".join(changed)}. Type '
        'the flags it was begun with, remove it, or give another --workdir'
        + (' and --results' if self.results else '')
      )

  def _is_start(self, job, given: str) -> bool:
    """Whether an init_from is a job's pretraining, also if that was moved."""
    if given == job.start:  # as `gather` writes it
      return True
    ours = self._of(job.start)
    is_given = self._pretrained and job.start == plan_lib.PRETRAIN
    same_name = os.path.basename(given) == job.start
    return workdir_lib.run_path(given) == ours or (same_name and not is_given)


def _read(folder: epath.Path) -> Outcome:
  """What is in the folder of a run, or of what was gathered of it."""

  def text(name: str) -> str:
    path = folder / name
    return path.read_text() if path.exists() else ''

  try:
    results = json.loads(text('results.json') or 'null')
    history = json.loads(text('history.json') or '[]')
  except ValueError as error:
    raise errors.UserError(
      f'a file in {folder} is damaged ({error}); delete the folder to have '
      'the job run again'
    ) from error
  config = saved_job.load_config(folder)
  return Outcome(
    results,
    tuple(row for row in history if row['part'] != 'train'),
    config and config_lib.flatten(config),
    '' if results else text(FAILED).strip(),
  )


def _write(path: epath.Path, value: Any, indent: int | None = 2) -> None:
  text = json.dumps(value, indent=indent, sort_keys=path.name == 'config.json')
  workdir_lib.write(path, text + '\n')


def _short(path: epath.Path) -> str:
  """Relative where it lies below the current folder, so that it can move."""
  text = os.fspath(path)
  if '://' in text:
    return text
  relative = os.path.relpath(text)
  return text if relative.startswith('..') else relative

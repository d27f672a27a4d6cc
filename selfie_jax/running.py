"""Runs jobs of main.py one after the other, each in a process of its own."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time

import tqdm
from tqdm.contrib import logging as tqdm_logging

from selfie_jax import errors
from selfie_jax import experiments
from selfie_jax import gathering
from selfie_jax import recipes

logger = logging.getLogger(__name__)

_STEP = re.compile(r'\bstep (\d+) ')
_ERROR = re.compile(r'error: |[\w.]+(Error|Exception|Interrupt)\b')
_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)


class Runner:
  """Runs jobs, shows how far they are, and stops when it is told to.

  Attributes:
    failures: {name of a job: the line that it ended with}.
    signal: the one that stopped it, SIGTERM if it was none of ours.
  """

  def __init__(self, folders: gathering.Folders, jobs: list[experiments.Job]):
    """Args: `jobs` are all that are to be run, to know how much is left."""
    self.failures: dict[str, str] = {}
    self._folders = folders
    self._sizes = {job.name: _images(job) for job in jobs}
    self._count, self._images = len(self._sizes), sum(self._sizes.values())
    self._begun = time.monotonic()
    self._process: subprocess.Popen | None = None
    self._stopped = False
    self.signal = signal.SIGTERM

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    """Shows the bar and takes the signals."""
    previous = {
      number: signal.signal(number, self._stop)
      for number in (signal.SIGINT, signal.SIGTERM)
    }
    self._bar = tqdm.tqdm(
      total=sum(self._sizes.values()) or 1,
      bar_format='{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]',
      dynamic_ncols=True,
      disable=not sys.stderr.isatty(),
    )
    loggers = [logging.getLogger('selfie_jax')]
    try:
      with self._bar, tqdm_logging.logging_redirect_tqdm(loggers):
        yield
    finally:
      for number, handler in previous.items():
        signal.signal(number, handler)

  def run(self, job: experiments.Job) -> None:
    """Runs a job to its end and gathers it; a failure is noted.

    Raises:
      Preempted: SIGTERM or Ctrl-C came; the job has saved its state.
    """
    if job.start and (why := self._cannot_start(job)):
      self._fail(job, why)
      return
    number = self._count - len(self._sizes) + 1
    self._bar.set_description_str(f'job {number}/{self._count} {job.name}')
    if self._bar.disable:
      logger.info(
        'job %d of %d: %s%s', number, self._count, job.name, self._time_left()
      )
    begun, size = self._bar.n, self._sizes.pop(job.name, 0)
    steps = int(recipes.fields_of(job.config, job.fields)['total_steps'])

    def show(step: int) -> None:
      self._bar.update(begun + size * step // steps - self._bar.n)

    failure = self._execute(job, show)
    self._bar.update(begun + size - self._bar.n)
    if failure:
      self._fail(job, failure)
    self._folders.gather(job)
    if results := self._folders.outcome(job).results:
      logger.info('%s: %s', job.name, _score(results['metrics']))

  def _execute(self, job: experiments.Job, show: Callable[[int], None]) -> str:
    """Runs the process; returns the line that it failed with, or ''."""
    if self._stopped:
      raise errors.Preempted
    folder = self._folders.run(job)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / gathering.FAILED).unlink(missing_ok=True)
    is_bucket = '://' in os.fspath(folder)
    last = error = ''
    with open(os.devnull if is_bucket else folder / 'log.txt', 'a') as log:
      self._process = subprocess.Popen(
        [
          sys.executable,
          *recipes.arguments(
            job.config, self._folders.fields(job), os.fspath(folder)
          ),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        start_new_session=True,  # Ctrl-C is ours to pass on
      )
      if self._stopped:  # told while it was being started
        self._process.terminate()
      for line in self._process.stdout:
        log.write(line)
        log.flush()
        if found := _STEP.search(line):
          show(int(found[1]))
        if line.strip():
          last = line.strip()
          error = last if _ERROR.match(last) else error
      code = self._process.wait()
      self._process = None
    if self._stopped or code in _STOPPED:
      raise errors.Preempted
    if code == 0:
      return ''
    told = (error or last or 'it said nothing').removeprefix('error: ')
    return told if code > 0 else f'killed by signal {-code}; before: {told}'

  def _cannot_start(self, job: experiments.Job) -> str:
    """Why a job that starts from a pretraining cannot, or ''."""
    start = next(
      j for j in self._folders.plan.pretrainings() if j.name == job.start
    )
    if self._folders.has_weights(start):
      return ''
    return f'not run, for {start.name} is not finished'

  def _fail(self, job: experiments.Job, line: str) -> None:
    self._sizes.pop(job.name, None)
    path = self._folders.run(job) / gathering.FAILED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + '\n')
    if self._folders.is_done(job):
      logger.info('%s diverged: %s', job.name, line)
      return
    self.failures[job.name] = line
    logger.warning('%s failed: %s', job.name, line)

  def _time_left(self) -> str:
    """Judged by the images of the jobs that are done; '' before the first."""
    done = self._images - sum(self._sizes.values())
    if not done:
      return ''
    seconds = (time.monotonic() - self._begun) * (self._images / done - 1)
    return f' (about {tqdm.tqdm.format_interval(seconds)} left)'

  def _stop(self, signum, frame) -> None:
    """Has the job save its state and end; told twice, it ends at once."""
    del frame
    self._stopped, self.signal = True, signum
    if self._process:
      self._process.terminate()


def _images(job: experiments.Job) -> int:
  """How many images it trains on: a measure of its time."""
  fields = recipes.fields_of(job.config, job.fields)
  return fields['total_steps'] * fields['batch_size']


def _score(metrics: dict[str, float]) -> str:
  return ', '.join(
    f'{name.replace("_", " ")} {value:.1%}'
    for name, value in metrics.items()
    if value is not None and name != 'loss'
  )

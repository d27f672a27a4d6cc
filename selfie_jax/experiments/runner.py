"""Runs jobs of main.py, some at a time, each in a process of its own."""

from collections.abc import Iterator
from concurrent import futures
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile

import tqdm
from tqdm.contrib import logging as tqdm_logging

from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import results as results_lib

logger = logging.getLogger(__name__)

_ERROR = re.compile(r'error: |[\w.]+(Error|Exception|Interrupt)\b')
_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)


@contextlib.contextmanager
def open_runner(
  results: results_lib.Results, jobs: list[plan_lib.Job], parallel: int = 1
) -> Iterator['Runner']:
  """A runner that takes the signals; in the end nothing runs any more.

  `jobs` are all that are to be run, to know how much is left; `parallel` run
  at a time, each on its share of the cores. UserError if these are fewer.
  """
  runner = Runner(results, jobs, parallel)
  signals = (signal.SIGINT, signal.SIGTERM)
  handlers = {number: signal.signal(number, runner.stop) for number in signals}
  loggers = [logging.getLogger('selfie_jax')]
  try:
    with runner.bar, tqdm_logging.logging_redirect_tqdm(loggers), runner.pool:
      try:
        yield runner
      except BaseException:
        if not runner.signal:  # a second one would keep jobs from saving
          runner.stop(signal.SIGTERM)
        raise
  finally:
    for number, handler in handlers.items():
      signal.signal(number, handler)


class Runner:
  """Runs jobs, shows how far they are, and stops them at a signal."""

  def __init__(
    self,
    results: results_lib.Results,
    jobs: list[plan_lib.Job],
    parallel: int,
  ):
    self.active: dict[futures.Future, plan_lib.Job] = {}
    self.started: list[plan_lib.Job] = []
    self.failures: dict[str, str] = {}  # name: the line that it ended with
    self.signal: int | None = None  # that stopped it
    shares = iter(_share_cores(parallel))
    self.pool = futures.ThreadPoolExecutor(
      parallel, initializer=lambda: _stay_on(next(shares))
    )
    self._results, self._number, self._parallel = results, len(jobs), parallel
    self._processes: set[subprocess.Popen] = set()
    fields = [recipes.fields_of(job.config, job.fields) for job in jobs]
    steps = sum(each['total_steps'] for each in fields)
    self.bar = tqdm.tqdm(total=steps, unit='step', disable=None)

  def has_room(self) -> bool:
    return len(self.active) < self._parallel

  def start(self, job: plan_lib.Job) -> None:
    """Starts a job, unless what it starts from is missing."""
    self.started.append(job)
    if job.start and not results_lib.fingerprint(job.start.folder):
      self._end(job, 2, f'not run, for {job.start.name} is not finished')
      return
    results_lib.begin(job)
    self.active[self.pool.submit(self._run, job)] = job
    logger.info('job %d/%d %s', len(self.started), self._number, job.name)

  def wait(self) -> None:
    """Waits for a job to end; stores its run, or notes its failure.

    Raises:
      Preempted: SIGTERM or Ctrl-C came; the jobs have saved their state.
    """
    done = set()
    while not done:
      done, _ = futures.wait(self.active, 5, futures.FIRST_COMPLETED)
      self.bar.update(sum(map(results_lib.step, self.started)) - self.bar.n)
    for future in done:
      job, (code, line) = self.active.pop(future), future.result()
      if self.signal or code in _STOPPED:
        raise errors.Preempted
      self._end(job, code, line)

  def stop(self, number: int, frame=None) -> None:
    """Has the jobs save their state and end; a second time, end at once."""
    del frame
    self.signal = number
    for process in list(self._processes):
      process.terminate()

  def _run(self, job: plan_lib.Job) -> tuple[int, str]:
    """Runs the process; returns its exit code and the line that says why."""
    words = recipes.arguments(job.config, job.fields, job.folder)
    with _open_log(job.folder) as log:
      begin = log.seek(0, os.SEEK_END)
      process = subprocess.Popen(
        [sys.executable, *words],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is ours to pass on
      )
      self._processes.add(process)
      if self.signal:  # it came while the process was being started
        process.terminate()
      code = process.wait()
      self._processes.remove(process)
      log.seek(begin)
      lines = [line.strip() for line in log if line.strip()]
    reasons = [line for line in lines if _ERROR.match(line)] or lines
    line = reasons[-1].removeprefix('error: ') if reasons else 'no output'
    return code, line if code >= 0 else f'killed by signal {-code}: {line}'

  def _end(self, job: plan_lib.Job, code: int, line: str) -> None:
    if code:
      results_lib.fail(job, code, line)
      logger.warning('%s failed: %s', job.name, line)
    row = self._results.store(job)
    if not results_lib.has_ended(row):
      self.failures[job.name] = line
    if metrics := row.get('metrics'):
      scores = [f'{k} {v:.4g}' for k, v in metrics.items() if v is not None]
      logger.info('%s: %s', job.name, ', '.join(scores))


def _share_cores(parallel: int) -> list[set[int]]:
  """The cores of each job: on all, each would wait for itself at every step."""
  is_linux = hasattr(os, 'sched_getaffinity')
  cores = [*(os.sched_getaffinity(0) if is_linux else range(os.cpu_count()))]
  if not 1 <= parallel <= len(cores):
    raise errors.UserError(
      f'--parallel={parallel} is not between 1 and the {len(cores)} cores of '
      'this machine'
    )
  return [set(cores[i::parallel]) for i in range(parallel)]


def _stay_on(cores: set[int]) -> None:
  """Holds this thread, and the processes that it starts, to some cores."""
  if hasattr(os, 'sched_setaffinity'):  # Linux
    os.sched_setaffinity(0, cores)


def _open_log(folder: str):
  if '://' in folder:  # files in buckets cannot be added to
    return tempfile.TemporaryFile('w+', errors='replace')
  return open(f'{folder}/log.txt', 'a+', errors='replace')

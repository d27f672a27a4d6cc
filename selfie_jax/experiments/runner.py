"""Runs jobs of main.py, some at a time, each in a process of its own."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

import tqdm
from tqdm.contrib import logging as tqdm_logging

from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import results as results_lib

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

  def __init__(
    self,
    folders: results_lib.Folders,
    jobs: list[plan_lib.Job],
    parallel: int = 1,
  ):
    """Prepares the run; nothing starts yet.

    Args:
      folders: where the jobs run.
      jobs: all that are to be run, to know how much is left.
      parallel: how many run at a time, each on its share of the cores.

    Raises:
      UserError: there are fewer cores than that.
    """
    self.failures: dict[str, str] = {}
    self.signal = signal.SIGTERM
    self._folders = folders
    self._shares = _share_cores(parallel)
    self._sizes = {job.name: _images(job) for job in jobs}
    self._done: dict[str, int] = {}  # images, of what has been started
    self._begun = time.monotonic()
    self._processes: set[subprocess.Popen] = set()
    self._stopped = False
    self._lock = threading.Lock()

  def run(self, following: Callable[[set[str]], plan_lib.Job | None]) -> None:
    """Runs jobs until none follows; a failure is noted.

    Args:
      following: the job to start next, given the names of those that run now,
        or None: none before one of these has ended.

    Raises:
      Preempted: SIGTERM or Ctrl-C came; the jobs have saved their state.
    """
    shares = queue.SimpleQueue()
    for share in self._shares:
      shares.put(share)
    with (
      self._watching(),
      futures.ThreadPoolExecutor(
        len(self._shares),
        initializer=lambda: _take_cores(shares.get()),
      ) as pool,
    ):
      active: dict[futures.Future, str] = {}
      try:
        while True:
          while len(active) < len(self._shares):
            job = following(set(active.values()))
            if job is None:
              break
            active[pool.submit(self._run, job)] = job.name
          if not active:
            return
          ended, _ = futures.wait(active, return_when=futures.FIRST_COMPLETED)
          for future in ended:
            active.pop(future)
            future.result()
      except BaseException:
        if not self._stopped:  # told twice, they would not save their state
          self._stop(self.signal)
        raise

  @contextlib.contextmanager
  def _watching(self) -> Iterator[None]:
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

  def _run(self, job: plan_lib.Job) -> None:
    """Runs a job to its end and gathers it; a failure is noted."""
    if job.start and (why := self._cannot_start(job)):
      self._fail(job, why)
      return
    left = self._time_left()
    self._show(job, 0)
    title = f'job {len(self._done)}/{len(self._sizes)} {job.name}'
    self._bar.set_description_str(title)
    if self._bar.disable:
      logger.info('%s%s', title, left)
    if failure := self._execute(job):
      self._fail(job, failure)
    else:
      self._show(job, 1)
    self._folders.gather(job)
    if results := self._folders.outcome(job).results:
      logger.info('%s: %s', job.name, _score(results['metrics']))

  def _execute(self, job: plan_lib.Job) -> str:
    """Runs the process; returns the line that it failed with, or ''."""
    folder = self._folders.run(job)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / results_lib.FAILED).unlink(missing_ok=True)
    is_bucket = '://' in os.fspath(folder)
    steps = int(recipes.fields_of(job.config, job.fields)['total_steps'])
    last = error = ''
    with open(os.devnull if is_bucket else folder / 'log.txt', 'a') as log:
      process = self._start(job, os.fspath(folder))
      for line in process.stdout:
        log.write(line)
        log.flush()
        if found := _STEP.search(line):
          self._show(job, int(found[1]) / steps)
        if line.strip():
          last = line.strip()
          error = last if _ERROR.match(last) else error
      code = process.wait()
      self._processes.remove(process)
    if self._stopped or code in _STOPPED:
      raise errors.Preempted
    if code == 0:
      return ''
    told = (error or last or 'it said nothing').removeprefix('error: ')
    return told if code > 0 else f'killed by signal {-code}; before: {told}'

  def _start(self, job: plan_lib.Job, folder: str) -> subprocess.Popen:
    if self._stopped:
      raise errors.Preempted
    process = subprocess.Popen(
      [
        sys.executable,
        *recipes.arguments(job.config, self._folders.fields(job), folder),
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      errors='replace',
      start_new_session=True,  # Ctrl-C is ours to pass on
    )
    self._processes.add(process)
    if self._stopped:  # told while it was being started
      process.terminate()
    return process

  def _cannot_start(self, job: plan_lib.Job) -> str:
    """Why a job that starts from a pretraining cannot, or ''."""
    start = next(
      j for j in self._folders.plan.pretrainings() if j.name == job.start
    )
    if self._folders.has_weights(start):
      return ''
    return f'not run, for {start.name} is not finished'

  def _fail(self, job: plan_lib.Job, line: str) -> None:
    self._show(job, 1)
    path = self._folders.run(job) / results_lib.FAILED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + '\n')
    if self._folders.is_done(job):
      logger.info('%s diverged: %s', job.name, line)
      return
    self.failures[job.name] = line
    logger.warning('%s failed: %s', job.name, line)

  def _show(self, job: plan_lib.Job, share: float) -> None:
    """Moves the bar to where this share of the job is done."""
    with self._lock:
      self._done[job.name] = int(share * self._sizes.get(job.name, 0))
      self._bar.update(sum(self._done.values()) - self._bar.n)

  def _time_left(self) -> str:
    """Judged by the images so far; '' before the first."""
    with self._lock:
      done, all_of_it = sum(self._done.values()), sum(self._sizes.values())
    if not done:
      return ''
    seconds = (time.monotonic() - self._begun) * (all_of_it / done - 1)
    return f' (about {tqdm.tqdm.format_interval(seconds)} left)'

  def _stop(self, signum: int, frame=None) -> None:
    """Has the jobs save their state and end; told twice, they end at once."""
    del frame
    self._stopped, self.signal = True, signum
    for process in list(self._processes):
      process.terminate()


def _share_cores(parallel: int) -> list[set[int]]:
  """The cores of each of the jobs that run at a time; all of them for one.

  A core's worth of programs on each core does more than each program on all
  cores, which has to wait for itself at every operation.
  """
  if hasattr(os, 'sched_getaffinity'):
    cores = sorted(os.sched_getaffinity(0))
  else:  # not Linux: they are not held to their share
    cores = list(range(os.cpu_count() or 1))
  if not 1 <= parallel <= len(cores):
    raise errors.UserError(
      f'--parallel={parallel} is not between 1 and the {len(cores)} cores of '
      'this machine'
    )
  return [set(cores[i::parallel]) for i in range(parallel)]


def _take_cores(share: set[int]) -> None:
  """Holds this thread, and the processes that it starts, to some cores."""
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, share)


def _images(job: plan_lib.Job) -> int:
  """How many images it trains on: a measure of its time."""
  fields = recipes.fields_of(job.config, job.fields)
  return fields['total_steps'] * fields['batch_size']


def _score(metrics: dict[str, float]) -> str:
  return ', '.join(
    f'{name.replace("_", " ")} {value:.1%}'
    for name, value in metrics.items()
    if value is not None and name != 'loss'
  )

"""Runs the jobs of a plan, some at a time, each in a process of its own."""

import collections
import logging
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import TextIO

from etils import epath

from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import results as results_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

_ERROR = re.compile(r'error: |[\w.]+(Error|Exception|Interrupt)\b')
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOPPED = {128 + number for number in _SIGNALS} | {-n for n in _SIGNALS}
_ATTEMPTS = 3  # at a job that ends with what may pass


class Runner:
  """Runs what is left of a plan; a job that fails does not stop the others.

  `failures` is {name of a job: the line it ended with}, `signal` the number of
  the signal that stopped the jobs.
  """

  def __init__(
    self,
    plan: plan_lib.Plan,
    path: epath.Path | None = None,
    stage: str = 'all',
    parallel: int = 1,
  ):
    self.failures: dict[str, str] = {}
    self.signal: int | None = None
    self._plan, self._path = plan, path  # of runs.jsonl
    self._stage, self._parallel = stage, parallel
    self._attempts: collections.Counter[str] = collections.Counter()
    self._over: set[str] = set()  # names of jobs that are not started again
    # The job of each process, its log, and where its output begins there.
    self._active: dict[subprocess.Popen, tuple[plan_lib.Job, TextIO, int]] = {}

  def run(self) -> None:
    """Returns when nothing is left that can be run.

    Raises:
      Preempted: SIGTERM, SIGHUP or Ctrl-C came; the jobs have saved.
      UserError: a folder cannot be made.
    """
    workdir_lib.make(epath.Path(self._plan.workdir))
    if self._path:
      workdir_lib.make(self._path.parent)
    handlers = {
      number: signal.signal(number, self._stop)
      for number in _SIGNALS
      if signal.getsignal(number) is not signal.SIG_IGN  # as nohup has it
    }
    try:
      runs = results_lib.read(self._plan, self._path)
      jobs = results_lib.pending(runs, self._stage)
      asked = sum(self._stage in ('all', stage) for stage in runs.stage)
      logger.info('%d to run, %d finished', len(jobs), asked - len(jobs))
      self._start_ready(jobs)
      while self._active:
        self._wait_for_one()
        # The cells' learning rates follow from the tuning.
        runs = results_lib.read(self._plan, self._path)
        results_lib.save(runs, self._path)
        self._start_ready(results_lib.pending(runs, self._stage))
    finally:
      for process in self._active:
        if not self.signal:  # a second one would keep jobs from saving
          process.terminate()
      for process in self._active:
        process.wait()
      for number, handler in handlers.items():
        signal.signal(number, handler)

  def _start_ready(self, jobs: list[plan_lib.Job]) -> None:
    """Starts jobs, as many as there is room for."""
    for job in jobs:
      active = [job for job, _, _ in self._active.values()]
      is_ready = not job.needs_rate and not {job, job.start} & {*active}
      has_room = len(self._active) < self._parallel
      if is_ready and has_room and job.name not in self._over:
        if job.start and not results_lib.fingerprint(job.start.folder):
          self._over.add(job.name)
          self._fail(job, 2, f'not run, for {job.start.name} is not finished')
        else:
          self._start(job)

  def _start(self, job: plan_lib.Job) -> None:
    folder = epath.Path(job.folder)
    workdir_lib.make(folder)
    (folder / run_metadata.FAILURE).unlink(missing_ok=True)
    self._attempts[job.name] += 1
    if '://' in job.folder:  # files in buckets cannot be added to
      log = tempfile.TemporaryFile('w+', errors='replace')
    else:
      log = open(f'{job.folder}/log.txt', 'a+', errors='replace')
    start = log.tell()
    process = subprocess.Popen(
      [sys.executable, *job.arguments()],
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,  # Ctrl-C reaches the jobs through _stop alone
    )
    self._active[process] = job, log, start
    if self.signal:  # it came while the process was being started
      process.terminate()
    logger.info('job %d: %s', self._attempts.total(), job.name)

  def _wait_for_one(self) -> None:
    """Waits until a job has ended, and notes why if it failed."""
    while not (done := [p for p in self._active if p.poll() is not None]):
      time.sleep(0.1)
    code = done[0].returncode
    job, log, start = self._active.pop(done[0])
    self.failures.pop(job.name, None)  # of an attempt before
    with log:
      log.seek(start)
      lines = [line.strip() for line in log if line.strip()]
    if self.signal or code in _STOPPED:
      raise errors.Preempted
    is_last = self._attempts[job.name] == _ATTEMPTS
    if code != errors.MayPass.exit_code or is_last:
      self._over.add(job.name)
    if code:
      reasons = [line for line in lines if _ERROR.match(line)] or lines
      line = reasons[-1].removeprefix('error: ') if reasons else 'no output'
      killed = f'killed by signal {-code}: ' if code < 0 else ''
      self._fail(job, code, killed + line)

  def _fail(self, job: plan_lib.Job, code: int, line: str) -> None:
    logger.warning('%s failed: %s', job.name, line)
    run_metadata.note_failure(job.folder, code, line)
    # A learning rate that diverges only loses the choice.
    if job.stage != 'tune' or code != errors.Diverged.exit_code:
      self.failures[job.name] = line

  def _stop(self, number: int, frame=None) -> None:
    """Has the jobs save their state and end; a second time, end at once."""
    del frame
    self.signal = number
    for process in self._active:
      process.terminate()

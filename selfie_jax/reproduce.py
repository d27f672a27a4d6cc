"""Runs an experiment of the paper: pretrains, tunes, finetunes, reports.

python -m selfie_jax.reproduce --experiment=cifar_labels --variant=small --tune

Typed again, it goes on: finished runs are skipped, interrupted ones resumed.
docs/reproduce.md has the rest.
"""

import logging
import shlex
import sys

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.experiments import flags
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import report
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import runner

logger = logging.getLogger('selfie_jax.reproduce')  # not __main__


def main() -> None:
  command_line.log_to_terminal()
  with command_line.one_line():
    given, plan = flags.parse(__doc__)
    results = results_lib.Results(plan, given.results)
    runs = results.table()
    if given.list:
      print_commands(pending(runs, given.stage))
      sys.exit(0)
    failed = not given.report and run(results, given)
    for job in (runs := results.table()).job:
      results.store(job)
    path = report.write(plan, runs, results.folder, command())
    logger.info('Report: %s', path)
    sys.exit(failed)


def pending(runs, stage: str) -> list[plan_lib.Job]:
  """What is to be run, a pretraining also if only its weights are missing."""
  left = [*runs[~runs.ended].job]
  starts = [job.start for job in left if job.start]
  lost = [job for job in starts if not results_lib.fingerprint(job.folder)]
  jobs = [job for job in runs.job if job in left + lost]
  return [job for job in jobs if stage in ('all', job.stage)]


def run(results: results_lib.Results, given) -> bool:
  """Runs what is not finished; returns whether something is left."""
  runs = results.table()
  jobs = pending(runs, given.stage)
  finished = sum(given.stage in ('all', stage) for stage in runs.stage)
  finished -= len(jobs)
  try:
    with runner.open_runner(results, jobs, given.parallel) as running:
      logger.info('%d to run, %d finished', len(jobs), finished)
      while True:
        # Asked anew each time, since the cells' rates follow from the tuning.
        for job in (jobs := pending(results.table(), given.stage)):
          is_ready = not job.waits and job.start not in running.active.values()
          if is_ready and job not in running.started and running.has_room():
            running.start(job)
        if not running.active:  # a job may have its results and not be over
          break
        running.wait()
  except errors.Preempted:
    sys.stderr.write(f'stopped; to go on: {command()}\n')
    sys.exit(128 + (running.signal or 15))
  for name, line in running.failures.items():
    sys.stderr.write(f'failed: {name}: {line}\n')
  if jobs:
    sys.stderr.write(f'{len(jobs)} jobs are left; again: {command()}\n')
  return bool(jobs)


def print_commands(jobs: list[plan_lib.Job]) -> None:
  for job in jobs:
    if not job.waits:
      print(recipes.command(job.config, job.fields, job.folder))
  if later := sum(job.waits for job in jobs):
    sys.stderr.write(
      f'{later} cells follow when their learning rates are chosen: run '
      'these, then type the same command again\n'
    )


def command() -> str:
  """What was typed."""
  return shlex.join(['python', '-m', 'selfie_jax.reproduce', *sys.argv[1:]])


if __name__ == '__main__':
  main()

"""Runs an experiment of the paper: pretrains, tunes, finetunes, reports.

python -m selfie_jax.reproduce --experiment=cifar_labels --variant=small --tune

Typed again, it goes on: finished runs are skipped, interrupted ones resumed.
docs/reproduce.md has the rest.
"""

import dataclasses
import logging
import shlex
import sys

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.experiments import flags as flags_lib
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import report
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import runner
from selfie_jax.experiments import tuning

logger = logging.getLogger('selfie_jax.reproduce')  # not __main__


def main() -> None:
  command_line.log_to_terminal()
  with command_line.one_line():
    arguments = flags_lib.parser(__doc__).parse_args()
    plan = flags_lib.make_plan(arguments)
    work = Work(
      plan,
      results_lib.Folders(
        plan,
        arguments.workdir or default_workdir(plan),
        arguments.results,
        arguments.pretrained,
      ),
    )
    if arguments.list:
      code = work.list(arguments.stage)
    elif arguments.report:
      code = work.report()
    else:
      code = work.run(arguments.stage, arguments.parallel)
  sys.exit(code)


@dataclasses.dataclass(frozen=True)
class Work:
  """A plan and its folders, and what can be done with them."""

  plan: plan_lib.Plan
  folders: results_lib.Folders

  def jobs(self) -> list[plan_lib.Job]:
    """All jobs whose flags are known: cells of which the rate is chosen."""
    jobs = self.plan.pretrainings() + self.plan.tunings()
    self.folders.check(jobs)
    cells = self.plan.cells(tuning.choose(self.plan, self.folders))
    self.folders.check(cells)
    return jobs + cells

  def run(self, stage: str, parallel: int) -> int:
    """Runs what is not finished; returns the exit code."""
    known = self.jobs()
    names = {job.name for job in known}
    unknown = [job for job in self.plan.cells() if job.name not in names]
    left = self.pending(known + unknown, stage)
    asked = [j for j in known + unknown if stage in ('all', j.stage)]
    running = runner.Runner(self.folders, left, parallel)
    logger.info(
      '%s: %d to run, %d finished',
      self.plan.title,
      len(left),
      len(asked) - len(left),
    )

    started = set()

    def following(active: set[str]) -> plan_lib.Job | None:
      # Asked anew each time, since the cells' rates follow from the tuning.
      for job in self.pending(self.jobs(), stage):
        if job.name not in started and job.start not in active:
          started.add(job.name)
          return job
      return None

    try:
      running.run(following)
    except errors.Preempted:
      sys.stderr.write(
        f'stopped; to go on: {command()}\n',
      )
      return 128 + running.signal
    self.report()
    for name, line in running.failures.items():
      sys.stderr.write(f'failed: {name}: {line}\n')
    if left := self.pending(known := self.jobs(), stage):
      sys.stderr.write(f'{len(left)} jobs are left; again: {command()}\n')
    untuned = len(self.plan.cells()) - sum(j.stage == 'cell' for j in known)
    if untuned and stage in ('all', 'cell'):
      sys.stderr.write(f'{untuned} cells have no learning rate yet\n')
      return 1
    return 1 if left else 0

  def pending(self, jobs: list[plan_lib.Job], stage: str) -> list[plan_lib.Job]:
    """Those to be run, a pretraining also if only its weights are missing."""
    left = [job for job in jobs if not self.folders.is_done(job)]
    starts = {job.start for job in left}
    again = [
      job
      for job in jobs
      if job.name in starts
      and job not in left
      and not self.folders.has_weights(job)
    ]
    return [job for job in again + left if stage in ('all', job.stage)]

  def list(self, stage: str) -> int:
    """Prints the commands of what is to be run, one a line."""
    jobs = self.jobs()
    for job in self.pending(jobs, stage):
      print(self.folders.command(job))
    later = len(self.plan.cells()) - sum(job.stage == 'cell' for job in jobs)
    if later and stage in ('all', 'cell'):
      sys.stderr.write(
        f'{later} cells follow when their learning rates are chosen: run '
        'these, then type the same command again\n'
      )
    return 0

  def report(self) -> int:
    """Gathers, writes the report, says where it is; returns the exit code."""
    jobs = self.jobs()
    for job in jobs:
      self.folders.gather(job)
    logger.info('Report: %s', report.write(self.plan, self.folders, command()))
    return 0


def default_workdir(plan: plan_lib.Plan) -> str:
  """One for all experiments on the same data, which share runs."""
  return '_'.join(
    filter(None, (f'runs/reproduce/{plan.spec.data}', plan.variant))
  )


def command() -> str:
  """What was typed."""
  return shlex.join(['python', '-m', 'selfie_jax.reproduce', *sys.argv[1:]])


if __name__ == '__main__':
  main()

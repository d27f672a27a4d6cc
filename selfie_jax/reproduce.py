"""Runs an experiment of the paper: pretrains, tunes, finetunes, reports.

python -m selfie_jax.reproduce --experiment=cifar_labels --variant=small --tune

Typed again, it goes on: finished runs are skipped, interrupted ones resumed.
docs/reproduce.md has the rest.
"""

import argparse
import contextlib
import logging
import math
import shlex
import sys

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import report
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import runner

logger = logging.getLogger('selfie_jax.reproduce')  # not __main__

GRID = '0.01,0.03,0.1,0.3'  # the paper tunes in [0.01, 0.4]


def main() -> None:
  command_line.log_to_terminal()
  with command_line.exit_cleanly():
    given, plan = parse()
    results = results_lib.Results(plan, given.results)
    runs = results.table()
    if given.list:
      print_commands(pending(runs, given.stage))
      sys.exit(0)
    failed = not given.report and run(results, given)
    runs = results.table()
    for job in runs[~runs.waits].job:
      results.store(job)
    path = report.write(plan, runs, results.folder, command())
    logger.info('Report: %s', path)
    sys.exit(failed)


def parse() -> tuple[argparse.Namespace, plan_lib.Plan]:
  """The flags that were given, and their plan; UserError for a mistake."""
  program = 'python -m selfie_jax.reproduce'
  parser = command_line.Parser(program, description=__doc__)

  def add(flag: str, says: str, default: object = '', **more) -> None:
    parser.add_argument(flag, help=says, default=default, **more)

  names, stages = sorted(plan_lib.EXPERIMENTS), ['all', *plan_lib.STAGES]
  field = {'action': 'append', 'metavar': 'FIELD=VALUE', 'type': _field}
  add('--experiment', 'of the paper', required=True, choices=names)
  add('--variant', "of the configs: small, tiny; if not given, the paper's")
  add('--fractions', "such as 0.05,0.08; all the paper's", (), type=_numbers)
  add('--seeds', 'how many; or 5,5,5,2, one a fraction', '5', type=_numbers)
  add('--workdir', 'for the runs; runs/reproduce/DATA_VARIANT')
  add('--results', 'a folder of tables to add to, such as docs/results')
  add('--pretrained', 'the folder of a finished pretraining to use')
  add('--tune', "choose each arm's learning rate", False, action='store_true')
  add('--tune_seeds', 'how many try a learning rate', '1', type=_numbers)
  add('--grid', 'learning rates for --tune', GRID, type=_numbers)
  add('--set', 'for the finetuning of both arms; may be repeated', [], **field)
  add('--pretrain_set', 'for the pretraining', [], **field)
  add('--parallel', 'jobs at a time, each on its share of cores', 1, type=int)
  add('--stage', 'only this', 'all', choices=stages)
  add('--list', 'print commands, run nothing', False, action='store_true')
  add('--report', 'write it, run nothing', False, action='store_true')
  given = parser.parse_args()
  spec = plan_lib.EXPERIMENTS[given.experiment]
  fractions = tuple(dict.fromkeys(given.fractions or spec.fractions))
  if max(fractions) > 1:
    raise errors.UserError(
      f'--fractions={max(fractions):g} is not valid: above 1'
    )
  # One for all experiments on the same data, which share runs.
  folder = f'runs/reproduce/{spec.data}_{given.variant}'.rstrip('_')
  return given, plan_lib.Plan(
    given.experiment,
    given.variant,
    fractions,
    _counts('--seeds', given.seeds, len(fractions)),
    _counts('--tune_seeds', given.tune_seeds, len(fractions)),
    tuple(dict.fromkeys(given.grid)) if given.tune else (),
    tuple(given.set),
    tuple(given.pretrain_set),
    given.workdir or folder,
    given.pretrained,
  )


def _counts(flag: str, numbers: tuple[float, ...], fractions: int) -> tuple:
  """One whole number for each of so many fractions."""
  each = tuple(map(int, numbers)) * (fractions if len(numbers) == 1 else 1)
  if len(each) != fractions or any(n % 1 for n in numbers):
    raise errors.UserError(
      f'{flag}={",".join(map("{:g}".format, numbers))} is not valid; it must '
      f'be a whole number, or one for each of the {fractions} label fractions'
    )
  return each


def _numbers(text: str) -> tuple[float, ...]:
  with contextlib.suppress(ValueError):
    numbers = tuple(float(number) for number in text.split(','))
    if all(0 < number < math.inf for number in numbers):
      return numbers
  raise argparse.ArgumentTypeError(
    f'{text} is not valid; it must be numbers above 0, with commas between'
  )


def _field(text: str) -> tuple[str, ...]:
  if '=' not in text:
    raise argparse.ArgumentTypeError(
      f'{text} is not valid; type FIELD=VALUE, such as total_steps=1000'
    )
  return tuple(text.split('=', 1))


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

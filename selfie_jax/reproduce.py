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
import signal
import sys

from etils import epath

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import report
from selfie_jax.experiments import results
from selfie_jax.experiments import runner

logger = logging.getLogger('selfie_jax.reproduce')  # not __main__

GRID = (0.01, 0.03, 0.1, 0.3)  # the paper tunes in [0.01, 0.4]


def main() -> None:
  command_line.log_to_terminal()
  with command_line.exit_cleanly():
    flags, plan = parse()
    folder = epath.Path(flags.results or f'{plan.workdir}/reports') / plan.title
    path = folder / 'runs.jsonl' if flags.results else None
    if flags.list:
      print_commands(results.pending(results.read(plan, path), flags.stage))
      sys.exit(0)
    is_unfinished = not flags.report and run(plan, path, flags)
    runs = results.read(plan, path)
    results.save(runs, path)
    logger.info('Report: %s', report.write(plan, runs, folder, command()))
    sys.exit(is_unfinished)


def parse() -> tuple[argparse.Namespace, plan_lib.Plan]:
  """The flags that were given, and their plan; UserError for a mistake."""
  parser = command_line.Parser('reproduce', __doc__)

  def add(flag: str, says: str, default: object = '', **more) -> None:
    parser.add_argument(flag, help=says, default=default, **more)

  names, stages = sorted(plan_lib.EXPERIMENTS), ['all', *plan_lib.STAGES]
  path = command_line.path
  field = {'action': 'append', 'metavar': 'FIELD=VALUE', 'type': _field}
  add('--experiment', 'of the paper', required=True, choices=names)
  add('--variant', "of the configs: small, tiny; if not given, the paper's")
  add('--fractions', "such as 0.05,0.08; all the paper's", (), type=_numbers)
  add('--seeds', 'how many; or 5,5,5,2, one a fraction', '5', type=_numbers)
  add('--workdir', 'runs/reproduce/DATA_VARIANT if not given', None, type=path)
  add('--results', 'for runs.jsonl, such as docs/results', None, type=path)
  add('--pretrained', 'a finished pretraining to use', None, type=path)
  add('--pretrain_seeds', 'how many pretrainings', 1, type=int)
  add('--tune', 'choose the learning rates', False, action='store_true')
  add('--tune_seeds', 'how many try a rate; 1 if not given', (), type=_numbers)
  rates = ','.join(map(str, GRID))
  add('--grid', f'rates for --tune; {rates} if not given', (), type=_numbers)
  add('--set', 'for all finetuning; may be repeated', [], **field)
  add('--pretrain_set', 'for the pretraining', [], **field)
  add('--parallel', 'how many jobs at a time', 1, type=int)
  add('--stage', 'only this', 'all', choices=stages)
  add('--list', 'print commands, run nothing', False, action='store_true')
  add('--report', 'write it, run nothing', False, action='store_true')
  flags = parser.parse_args()
  spec = plan_lib.EXPERIMENTS[flags.experiment]
  fractions = tuple(dict.fromkeys(flags.fractions or spec.fractions))
  if max(fractions) > 1:
    errors.invalid(f'--fractions={max(fractions):g}', 'at most 1')
  if (flags.grid or flags.tune_seeds) and not flags.tune:
    raise errors.UserError(
      '--grid and --tune_seeds are for --tune, which is missing; for one '
      'learning rate in all cells type --set=optimizer.learning_rate=0.1'
    )
  for name in ('parallel', 'pretrain_seeds'):
    if vars(flags)[name] < 1:
      errors.invalid(f'--{name}={vars(flags)[name]}', 'at least 1')
  # One for all experiments on the same data, which share runs.
  folder = f'runs/reproduce/{spec.data}_{flags.variant}'.rstrip('_')
  return flags, plan_lib.Plan(
    flags.experiment,
    flags.variant,
    fractions,
    seeds=_counts('--seeds', flags.seeds, len(fractions)),
    tune_seeds=_counts(
      '--tune_seeds', flags.tune_seeds or (1,), len(fractions)
    ),
    grid=tuple(dict.fromkeys(flags.grid or GRID)) if flags.tune else (),
    fields=tuple(flags.set),
    pretrain_fields=tuple(flags.pretrain_set),
    workdir=flags.workdir or folder,
    pretrained=flags.pretrained or '',
    pretrain_seeds=flags.pretrain_seeds,
  )


def _counts(flag: str, numbers: tuple[float, ...], fractions: int) -> tuple:
  """A whole number for each fraction."""
  each = tuple(map(int, numbers)) * (fractions if len(numbers) == 1 else 1)
  if len(each) != fractions or any(n % 1 for n in numbers):
    errors.invalid(
      f'{flag}={",".join(map("{:g}".format, numbers))}',
      f'a whole number, or one for each of the {fractions} label fractions',
    )
  return each


def _numbers(text: str) -> tuple[float, ...]:
  with contextlib.suppress(ValueError):
    numbers = tuple(float(number) for number in text.split(','))
    # In folders and flags they have six digits.
    if all(0 < n < math.inf and float(f'{n:g}') == n for n in numbers):
      return numbers
  raise argparse.ArgumentTypeError(
    f'{text} is not valid; it must be numbers above 0, each of at most 6 '
    'digits, with commas between'
  )


def _field(text: str) -> tuple[str, ...]:
  if '=' not in text:
    raise argparse.ArgumentTypeError(
      f'{text} is not valid; type FIELD=VALUE, such as total_steps=1000'
    )
  return tuple(text.split('=', 1))


def run(
  plan: plan_lib.Plan, path: epath.Path | None, flags: argparse.Namespace
) -> bool:
  """Runs what is not finished; returns whether something is left."""
  running = runner.Runner(plan, path, flags.stage, flags.parallel)
  try:
    running.run()
  except errors.Preempted:
    sys.stderr.write(f'stopped; to go on: {command()}\n')
    sys.exit(128 + (running.signal or signal.SIGTERM))
  for name, line in running.failures.items():
    sys.stderr.write(f'failed: {name}: {line}\n')
  if left := results.pending(results.read(plan, path), flags.stage):
    sys.stderr.write(f'{len(left)} jobs are left; again: {command()}\n')
  return bool(left)


def print_commands(jobs: list[plan_lib.Job]) -> None:
  for job in jobs:
    if not job.needs_rate:
      print(shlex.join(['python', *job.arguments()]))
  if later := sum(job.needs_rate for job in jobs):
    sys.stderr.write(
      f'{later} cells follow when their learning rates are chosen: run '
      'these, then type the same command again\n'
    )


def command() -> str:
  """What was typed, to run it again."""
  flags = [word for word in sys.argv[1:] if word != '--report']
  return shlex.join(['python', '-m', 'selfie_jax.reproduce', *flags])


if __name__ == '__main__':
  main()

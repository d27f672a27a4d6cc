"""The flags of reproduce.py, and the plan that they describe."""

import argparse
import math

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib

GRID = '0.01,0.03,0.1,0.3'  # the paper tunes in [0.01, 0.4]


def parser(description: str) -> argparse.ArgumentParser:
  made = command_line.Parser(
    prog='python -m selfie_jax.reproduce',
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = made.add_argument
  add('--experiment', required=True, choices=sorted(plan_lib.EXPERIMENTS))
  add(
    '--variant',
    default='',
    help="of the configs: small (two CPU cores) or tiny; the paper's setting "
    'if not given',
  )
  add('--fractions', help="of the labels, such as 0.05,0.08; all the paper's")
  add(
    '--seeds',
    default='5',
    help='how many; or one number for each fraction: 5,5,5,2',
  )
  add('--workdir', help='for the runs; runs/reproduce/DATA_VARIANT')
  add(
    '--results',
    metavar='DIR',
    help='keep results there too, without checkpoints, and take them from '
    'there: docs/results',
  )
  add('--pretrained', metavar='DIR', help='a finished pretraining run to use')
  add(
    '--tune',
    action='store_true',
    help='choose the learning rate of each arm on its validation part',
  )
  add(
    '--tune_seeds',
    default='1',
    help='how many runs try each rate; or one number for each fraction',
  )
  add('--grid', default=GRID, help=f'learning rates for --tune ({GRID})')
  add(
    '--set',
    action='append',
    default=[],
    metavar='FIELD=VALUE',
    help='for the finetuning of both arms; may be repeated',
  )
  add(
    '--pretrain_set',
    action='append',
    default=[],
    metavar='FIELD=VALUE',
    help='for the pretraining',
  )
  add(
    '--parallel',
    type=int,
    default=1,
    metavar='N',
    help='jobs at a time, each on its share of the CPU cores',
  )
  add('--stage', default='all', choices=['all', *plan_lib.STAGES])
  add('--list', action='store_true', help='print the commands, run nothing')
  add('--report', action='store_true', help='write the report, run nothing')
  return made


def make_plan(arguments: argparse.Namespace) -> plan_lib.Plan:
  """The plan that the flags describe.

  Raises:
    UserError: a value that cannot be.
  """
  spec = plan_lib.EXPERIMENTS[arguments.experiment]
  fractions = spec.fractions
  if arguments.fractions:
    fractions = _numbers(arguments.fractions, 'fractions', 1)
  grid = _numbers(arguments.grid, 'grid') if arguments.tune else ()
  fractions, grid = (tuple(dict.fromkeys(each)) for each in (fractions, grid))
  return plan_lib.Plan(
    arguments.experiment,
    arguments.variant,
    fractions,
    _counts(arguments.seeds, 'seeds', len(fractions)),
    grid,
    _fields(arguments.set, '--set'),
    _fields(arguments.pretrain_set, '--pretrain_set'),
    _counts(arguments.tune_seeds, 'tune_seeds', len(fractions)),
  )


def _counts(text: str, flag: str, fractions: int) -> tuple[int, ...]:
  """One whole number for each of so many fractions."""
  numbers = _numbers(text, flag)
  if len(numbers) == 1:
    numbers *= fractions
  if len(numbers) != fractions or any(n % 1 for n in numbers):
    raise errors.UserError(
      f'--{flag}={text} is not valid; it must be one whole number of at least '
      f'1, or one for each of the {fractions} label fractions'
    )
  return tuple(int(n) for n in numbers)


def _numbers(
  text: str, flag: str, highest: float = math.inf
) -> tuple[float, ...]:
  try:
    numbers = tuple(float(number) for number in text.split(','))
  except ValueError:
    numbers = ()
  if not numbers or not all(0 < n <= highest and n < math.inf for n in numbers):
    limit = f' and at most {highest:g}' if highest < math.inf else ''
    raise errors.UserError(
      f'--{flag}={text} is not valid; it must be numbers above 0{limit}, with '
      'commas between'
    )
  return numbers


def _fields(given: list[str], flag: str) -> tuple[tuple[str, str], ...]:
  for one in given:
    if '=' not in one:
      raise errors.UserError(
        f'{flag} {one} is not valid; type {flag} FIELD=VALUE, such as '
        f'{flag} total_steps=1000'
      )
  return tuple(tuple(one.split('=', 1)) for one in given)

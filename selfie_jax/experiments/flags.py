"""The flags of reproduce.py, and the plan that they describe."""

import argparse
import contextlib
import math

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.experiments import plan as plan_lib

GRID = '0.01,0.03,0.1,0.3'  # the paper tunes in [0.01, 0.4]


def parse(description: str) -> tuple[argparse.Namespace, plan_lib.Plan]:
  """The flags that were given, and their plan; UserError for a mistake."""
  program = 'python -m selfie_jax.reproduce'
  parser = command_line.Parser(program, description=description)

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

"""What a job's flags make of its config, without running it."""

from collections.abc import Sequence
import os
import pathlib
import shlex
import sys

from absl import flags
import ml_collections
from ml_collections import config_flags

from selfie_jax import config as config_lib
from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parents[2]
Fields = Sequence[tuple[str, str]]

# Where things lie on one machine; no part of what a run's numbers are.
PLACES = ('init_from', 'dataset.data_dir', 'dataset.path')


def arguments(config: str, fields: Fields, workdir: str = '') -> list[str]:
  """The words after `python`: main.py and its flags.

  The same from wherever it is called, and short from the project's folder.
  """
  prefix = '' if pathlib.Path.cwd() == ROOT else f'{ROOT}{os.sep}'
  return [
    f'{prefix}main.py',
    f'--config={prefix}{config}',
    *([f'--workdir={workdir}'] if workdir else []),
    *(f'--config.{field}={value}' for field, value in fields),
  ]


def command(config: str, fields: Fields, workdir: str) -> str:
  """What to type for a job."""
  return shlex.join(['python', *arguments(config, fields, workdir)])


def build(config: str, fields: Fields) -> ml_collections.ConfigDict:
  """The config as main.py makes it of such flags, and checked as it checks.

  Raises:
    UserError: there is no such config, field or value.
  """
  if not (ROOT / 'main.py').exists():
    raise errors.UserError(
      f'there is no main.py in {ROOT}; run this from a clone of the project'
    )
  path = config.partition(':')[0]
  if not (ROOT / path).exists():
    raise errors.UserError(f'there is no {path} in {ROOT}')
  if str(ROOT) not in sys.path:  # for `from configs import common`
    sys.path.insert(0, str(ROOT))
  built = _parse([f'--config={ROOT}/{config}'])
  known = config_lib.flatten(built)
  for field, _ in fields:
    if field not in known:
      raise errors.UserError(
        f'{path} has no field {field!r}; the fields are {", ".join(known)}'
      )
  given = arguments(f'{ROOT}/{config}', fields)[2:]
  built = _parse([f'--config={ROOT}/{config}', *given])
  config_lib.check(built, num_devices=1)
  return built


def fields_of(config: str, fields: Fields = ()) -> dict[str, object]:
  """Likewise, as {'model.width': 64, ...} with lists for tuples."""
  return config_lib.flatten(build(config, fields))


def differences(
  one: dict[str, object], other: dict[str, object], but: Sequence[str] = ()
) -> dict[str, tuple[object, object]]:
  """{field: (value, other value)} where two flat configs make other numbers."""
  left_out = {*config_lib.RUNTIME_FIELDS, *PLACES, *but}
  absent = 'not there'
  return {
    field: (one.get(field, absent), other.get(field, absent))
    for field in sorted({*one, *other} - left_out)
    if one.get(field, absent) != other.get(field, absent)
  }


def _parse(given: list[str]) -> ml_collections.ConfigDict:
  argv = ['main.py', *given]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config', flag_values=values, sys_argv=argv, lock_config=True
  )
  try:
    values(argv)
  except (flags.Error, TypeError, ValueError) as error:
    raise errors.UserError(' '.join(str(error).split())) from error
  return values.config

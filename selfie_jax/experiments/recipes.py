"""What a job's flags make of its config, without running it."""

import functools
import os
import pathlib
import shlex

import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax import job_flags

ROOT = job_flags.ROOT
Fields = tuple[tuple[str, str], ...]

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
  given = [f'--config.{field}={value}' for field, value in fields]
  return job_flags.read([f'--config={ROOT}/{config}', *given])


@functools.cache
def fields_of(config: str, fields: Fields = ()) -> dict[str, object]:
  """Likewise, as {'model.width': 64, ...} with lists for tuples."""
  return config_lib.flatten(build(config, fields))

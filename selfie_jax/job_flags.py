"""A job's flags: --config=FILE.py[:variant] and --config.FIELD=VALUE.

main.py, the benchmarks, reproduce.py and the tests read them here.
"""

import difflib
import functools
import os
import pathlib
import re
import runpy
import sys
import traceback

from absl import flags
import ml_collections
from ml_collections import config_flags

from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parents[1]

_PATHS = ('init_from', 'dataset.path', 'dataset.data_dir')
_KINDS = {'int': 'a whole number', 'float': 'a number', 'bool': 'True or False'}


def define(
  values: flags.FlagValues = flags.FLAGS, argv: list[str] | None = None
) -> None:
  """Defines --config; argv is what will be parsed, sys.argv if not given."""
  says = (
    'The job, such as configs/cifar_pretrain.py or, with a variant, '
    'configs/cifar_pretrain.py:small.'
  )
  config_flags.DEFINE_config_file(
    'config', None, says, flag_values=values, sys_argv=argv, lock_config=True
  )


def parse(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """Parses flags, for absl's app.run, and checks the job.

  Takes the program's name and the flags, and returns the name.

  Raises:
    UserError: there is no such flag, job, field or value.
  """
  name = _find_job(argv)
  if name is not None:
    job = _load(name)
    _check_fields(argv, job)
  try:
    rest = values(argv)
  except (flags.Error, TypeError, ValueError) as error:
    raise errors.UserError(_explain(error, values)) from error
  if rest[1:]:
    raise errors.UserError(
      f'{rest[1]!r} is no flag: type --config.FIELD=VALUE or --workdir=DIR'
    )
  if name is None:
    raise errors.UserError(f'no job given: {_what_to_type()}')
  if values.config.mode != job.mode:
    raise errors.UserError(
      f'{name} is a job of mode={job.mode}, which no flag changes; for another '
      f'one {_what_to_type()}'
    )
  from selfie_jax import config as config_lib  # JAX takes seconds to load

  flat = config_lib.flatten(values.config)
  paths = {f: os.path.expanduser(flat[f]) for f in _PATHS if f in flat}
  values.config.update_from_flattened_dict(paths)
  config_lib.check(values.config, num_devices=1)
  return rest


def read(given: list[str]) -> ml_collections.ConfigDict:
  """The config that main.py makes of such flags; UserError as in `parse`."""
  argv = ['main.py', *given]
  values = flags.FlagValues()
  define(values, argv)
  parse(argv, values)
  return values.config


@functools.cache
def read_flat(
  file: str, fields: tuple[tuple[str, str], ...] = ()
) -> dict[str, object]:
  """The flat config of a job and (field, value), or UserError."""
  from selfie_jax import config as config_lib  # JAX takes seconds to load

  changed = [f'--config.{field}={value}' for field, value in fields]
  return config_lib.flatten(read([f'--config={ROOT}/{file}', *changed]))


def default_workdir(values: flags.FlagValues = flags.FLAGS) -> str:
  """runs/cifar_pretrain, or runs/cifar_pretrain_small for a variant."""
  name = config_flags.get_config_filename(values['config'])
  path, _, variant = name.partition(':')
  return f'runs/{pathlib.Path(path).stem}_{variant}'.removesuffix('_')


def _find_job(argv: list[str]) -> str | None:
  """The value of --config; the last one counts, as it does for absl."""
  name = None
  for word, following in zip(argv, [*argv[1:], ''], strict=True):
    if match := re.fullmatch(r'--?config(?:=(.*))?', word):
      name = following if match[1] is None else match[1]
  return name


def _load(name: str) -> ml_collections.ConfigDict:
  """The config of FILE.py[:variant] as it is before any field is changed."""
  path, _, variant = name.partition(':')
  file = pathlib.Path(path)
  if file.suffix != '.py' or not file.is_file():
    raise errors.UserError(f'{path!r} is not a job: {_what_to_type()}')
  if str(ROOT) not in sys.path:  # for `from configs import common`
    sys.path.insert(0, str(ROOT))
  try:
    make = runpy.run_path(str(file)).get('get_config', lambda: None)
    config = make(*([variant] if ':' in name else []))
  except errors.UserError:
    raise
  except Exception as error:  # a config of one's own can do anything
    line = traceback.extract_tb(error.__traceback__)[-1].lineno
    text = errors.in_one_line(error)
    raise errors.UserError(
      f'{name} cannot be read: {type(error).__name__}: {text} (line {line})'
    ) from error
  if not isinstance(config, ml_collections.ConfigDict) or 'mode' not in config:
    raise errors.UserError(
      f'{path} is not a job: it needs a get_config() that returns one; begin '
      'with config = common.pretrain(), as the files of configs/ do'
    )
  return config


def _what_to_type() -> str:
  jobs = sorted(path.stem for path in (ROOT / 'configs').glob('[a-z]*_*.py'))
  if not jobs:
    return 'this needs the jobs of the repository: start it in a clone of it'
  folder = '' if pathlib.Path.cwd() == ROOT else f'{ROOT}/'
  return (
    f'type --config={folder}configs/FILE.py, with FILE one of {", ".join(jobs)}'
  )


def _check_fields(argv: list[str], config: ml_collections.ConfigDict) -> None:
  """Raises UserError for a --config.FIELD that the job does not have."""
  from selfie_jax import config as config_lib  # JAX takes seconds to load

  known = sorted(config_lib.flatten(config))
  given = [re.match(r'--?(?:no)?config\.([^=]*)', word) for word in argv]
  for field in [match[1] for match in given if match]:
    if field in known:
      continue
    name = field.rpartition('.')[2]
    similar = [other for other in known if name in other.split('.')]
    similar = similar or difflib.get_close_matches(field, known)
    if field in config_lib.FIELDS:
      said = 'jobs of another mode have it'
    elif similar:
      said = f'did you mean {", ".join(similar)}?'
    else:
      said = f'the fields are {", ".join(known)}'
    raise errors.UserError(
      f'a job of mode={config.mode} has no field {field!r}: {said} '
      '(configs/common.py explains every field)'
    )


def _explain(error: Exception, values: flags.FlagValues) -> str:
  """absl's 'flag --NAME=VALUE: ...' with what is valid in place of the end."""
  text = errors.in_one_line(error)
  if not isinstance(error, flags.IllegalFlagValueError):
    return f'{text.rstrip(".")}; --help has all flags'
  flag = text.removeprefix('flag ').partition(': ')[0]
  name = flag.removeprefix('--').partition('=')[0]
  valid = ''
  if name.startswith('config.'):
    from selfie_jax import config as config_lib  # JAX takes seconds to load

    field, mode = name.removeprefix('config.'), values['config'].value.mode
    valid = config_lib.rule(field, mode).valid
  kind = _KINDS.get(values[name].flag_type(), '') if name in values else ''
  if kind and (not valid or valid.startswith('in ')):
    valid = f'{kind} {valid}'.strip()
  return f'{flag} is not valid; it must be {valid}' if valid else text

"""A job's flags: --config=FILE.py[:variant] and --config.FIELD=VALUE.

main.py, the benchmarks, reproduce.py and the tests read them here, all alike.
"""

from collections.abc import Iterator
import difflib
import importlib
import importlib.util
import pathlib
import re
import sys
import traceback

from absl import flags
import ml_collections
from ml_collections import config_flags

from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parents[1]

_KINDS = {
  'int': 'a whole number',
  'float': 'a number',
  'bool': 'True or False',
}
_MODES = {
  'pretrain': 'pretraining',
  'finetune': 'finetuning',
  'probe': 'probing',
}


def define(
  values: flags.FlagValues = flags.FLAGS, argv: list[str] | None = None
) -> None:
  """Defines --config; argv is what will be parsed, sys.argv if not given."""
  config_flags.DEFINE_config_file(
    'config',
    None,
    'The job, such as configs/cifar_pretrain.py or, with a variant, '
    'configs/cifar_pretrain.py:small.',
    flag_values=values,
    sys_argv=argv,
    lock_config=True,
  )


def parse(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """Parses flags, for absl's app.run; the job is whole and checked after it.

  Args:
    argv: the program's name, then the flags.
    values: where `define` has put --config, and others their flags.

  Returns:
    The program's name.

  Raises:
    UserError: there is no such flag, job, field or value.
  """
  name = _find_job(argv)
  if name is not None:
    config = _load(name)
    for field in _find_fields(argv):
      _check_field(field, config)
  try:
    rest = values(argv)
  except flags.IllegalFlagValueError as error:
    raise errors.UserError(_explain(str(error), values)) from error
  except (flags.Error, TypeError, ValueError) as error:
    text = errors.in_one_line(error).rstrip('.')
    raise errors.UserError(f'{text}; --help has all flags') from error
  if rest[1:]:
    raise errors.UserError(
      f'{rest[1]!r} is no flag: type --config.FIELD=VALUE or --workdir=DIR'
    )
  if name is None:
    raise errors.UserError(f'no job given: {_what_to_type()}')
  from selfie_jax import config as config_lib  # JAX takes seconds to load

  config_lib.check(values.config, num_devices=1)
  return rest


def read(given: list[str]) -> ml_collections.ConfigDict:
  """The config that main.py makes of such flags.

  Raises:
    UserError: as `parse`.
  """
  argv = ['main.py', *given]
  values = flags.FlagValues()
  define(values, argv)
  parse(argv, values)
  return values.config


def default_workdir(values: flags.FlagValues = flags.FLAGS) -> str:
  """runs/cifar_pretrain, or runs/cifar_pretrain_small for a variant."""
  name = config_flags.get_config_filename(values['config'])
  path, _, variant = name.partition(':')
  stem = pathlib.Path(path).stem
  return f'runs/{stem}_{variant}' if variant else f'runs/{stem}'


def _find_job(argv: list[str]) -> str | None:
  """The value of --config; the last one counts, as it does for absl."""
  name = None
  for word, following in zip(argv, [*argv[1:], ''], strict=True):
    if match := re.fullmatch(r'--?config(?:=(.*))?', word):
      name = following if match[1] is None else match[1]
  return name


def _find_fields(argv: list[str]) -> Iterator[str]:
  for word in argv:
    if match := re.match(r'--?(?:no)?config\.([^=]*)', word):
      yield match[1]


def _load(name: str) -> ml_collections.ConfigDict:
  """The config of FILE.py[:variant] as it is before any field is changed."""
  path, _, variant = name.partition(':')
  file = pathlib.Path(path)
  if not file.exists() and not file.is_absolute() and (ROOT / file).is_file():
    raise errors.UserError(
      f'there is no {path} in {pathlib.Path.cwd()}: type '
      f'--config={ROOT / name}, or go to the folder of the project first: '
      f'cd {ROOT}'
    )
  if not file.is_file() or file.suffix != '.py':
    what = f'{path} is no config' if file.exists() else f'there is no {path}'
    raise errors.UserError(f'{what}: {_what_to_type()}')
  if str(ROOT) not in sys.path:  # for `from configs import common`
    sys.path.insert(0, str(ROOT))
  spec = importlib.util.spec_from_file_location('job', file)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    if hasattr(module, 'get_config'):
      config = module.get_config(*([variant] if ':' in name else []))
  except errors.UserError:
    raise
  except Exception as error:  # a config of one's own can do anything
    line = traceback.extract_tb(error.__traceback__)[-1].lineno
    text = errors.in_one_line(error)
    raise errors.UserError(
      f'{name} cannot be read: {type(error).__name__}: {text} (line {line})'
    ) from error
  if not hasattr(module, 'get_config'):
    raise errors.UserError(
      f'{path} is no job, it has no get_config(): {_what_to_type()}'
    )
  if not isinstance(config, ml_collections.ConfigDict) or not config.get(
    'mode'
  ):
    raise errors.UserError(
      f'get_config() of {path} has to return a job; begin with '
      'config = common.pretrain(), as the files of configs/ do'
    )
  return config


def _what_to_type() -> str:
  jobs = sorted(path.stem for path in (ROOT / 'configs').glob('[a-z]*_*.py'))
  folder = '' if pathlib.Path.cwd() == ROOT else f'{ROOT}/'
  return (
    f'type --config={folder}configs/FILE.py, with FILE one of {", ".join(jobs)}'
  )


def _check_field(field: str, config: ml_collections.ConfigDict) -> None:
  """Says where a field is, or what it may be called, if it is not here."""
  from selfie_jax import config as config_lib  # JAX takes seconds to load

  known = sorted(config_lib.flatten(config))
  if field in known:
    return
  common = importlib.import_module('configs.common')
  elsewhere = [
    mode
    for mode in _MODES
    if field in config_lib.flatten(getattr(common, mode)())
  ]
  refused = f'a {_MODES[config.mode]} job has no field {field!r}; '
  if elsewhere:
    raise errors.UserError(
      f'{refused}it belongs to {" and ".join(_MODES[m] for m in elsewhere)} '
      f'jobs ({", ".join(f"configs/*_{m}.py" for m in elsewhere)})'
    )
  # In another group, or a group itself; else what is spelt alike.
  last = field.rpartition('.')[2]
  similar = [name for name in known if last in name.split('.')]
  similar = similar or difflib.get_close_matches(field, known)
  raise errors.UserError(
    f'{refused}did you mean {", ".join(similar)}? configs/common.py has all'
    if similar
    else f'{refused}the fields are {", ".join(known)}'
  )


def _explain(text: str, values: flags.FlagValues) -> str:
  """absl's 'flag --NAME=VALUE: ...' with what is valid in place of the end."""
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
  if not valid:
    return ' '.join(text.split())
  return f'{flag} is not valid; it must be {valid}'

"""Writes docs/configuration.md from the code: python -m docs.configuration.

What a field means is read from the comments of configs/common.py, its values
from the jobs in configs/, what is valid from selfie_jax/config.py.
"""

import ast
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import importlib
import pathlib
import re
import shlex
from typing import Any

import ml_collections

from configs import common
from selfie_jax import config as config_lib
from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'configuration.md'
VARIANTS = ('', 'small', 'tiny')
JOBS = sorted(path.stem for path in (ROOT / 'configs').glob('[a-z]*_*.py'))

_MARK = re.compile(r' (\[[PRO]\])$')

# Flags that break a rule between fields; the page shows what the program says.
_BROKEN_RULES = (
  {'patch_size': 7},
  {'masked_fraction': 0.05},
  {'batch_size': 1001},
  {'model.depths': (3, 4, 6)},
  {'model.attention.num_heads': 7},
  {'optimizer.warmup_steps': 120_000},
  {'augment.border': 'reflect', 'augment.padding': 32},
  {'dataset.path': 'photos'},
)
_DEVICES = 8

_INTRODUCTION = """\
<!-- Written by `python -m docs.configuration`; change configs/ instead. -->

# Every setting

A job is a file of [configs/](../configs), a variant of it is named after a
colon, and any field can be given on the command line:
`python main.py --config=configs/cifar_pretrain.py:small
--config.batch_size=256`. Text and numbers are typed as they are, a choice as
`True` or `False`, several numbers in quotes:
`--config.model.depths='(1, 1, 1, 1)'`. A run keeps its settings in
`config.json`.

The mark says how well the paper's value is known:

| mark | meaning |
|---|---|
| [P] | the paper states it |
| [R] | the paper does not, reimplementations agree on it |
| [O] | open: the paper is silent, and this is our choice |
| none | no matter of the paper: how the run is organised |

The values in these tables are the paper's for CIFAR-10; what the
other jobs and the variants change stands in [the jobs](#the-jobs)."""


@dataclasses.dataclass(frozen=True)
class Field:
  """An assignment in configs/common.py.

  Attributes:
    name: 'model.width'; a group, such as 'model', is one too.
    meaning: the comment above it in one line, without the mark at its end.
    mark: '[P]', '[R]', '[O]' or ''.
    is_group: whether other fields lie in it.
  """

  name: str
  meaning: str
  mark: str
  is_group: bool


def main() -> None:
  PAGE.write_text(page())


def page() -> str:
  """The whole of docs/configuration.md."""
  parts = [_INTRODUCTION]
  for title, function, modes in (
    ('Pretraining', 'pretrain', ('pretrain',)),
    ('Finetuning', 'finetune', ('finetune',)),
    ('Pretraining and finetuning', '_job', ('pretrain', 'finetune')),
    ('Probing', 'probe', ('probe',)),
    ('All jobs', '_data', config_lib.MODES),
  ):
    parts += ['', f'## {title}', *_field_tables(fields(function), modes)]
  parts += ['', '## Rules between fields', *_rules()]
  parts += ['', '## Started again in the same workdir', *_runtime_fields()]
  parts += ['', '## Exit codes', *_exit_codes()]
  parts += ['', '## The jobs', *_jobs()]
  return '\n'.join(parts) + '\n'


def fields(function: str) -> list[Field]:
  """What a function of configs/common.py sets, in its order."""
  source = (ROOT / 'configs' / 'common.py').read_text()
  (body,) = (
    node.body
    for node in ast.parse(source).body
    if isinstance(node, ast.FunctionDef) and node.name == function
  )
  lines = source.splitlines()
  names = {'config': ''}  # local names of groups
  found = []
  for node in body:
    if not isinstance(node, ast.Assign):
      continue
    first, *others = node.targets
    if isinstance(first, ast.Name):
      continue  # config = ...
    variable, _, rest = ast.unparse(first).partition('.')
    name = f'{names[variable]}{rest}'
    names |= {other.id: f'{name}.' for other in others}
    comment = _comment_above(lines, node.lineno)
    mark = _MARK.search(comment)
    found.append(
      Field(
        name,
        _MARK.sub('', comment),
        mark[1] if mark else '',
        ast.unparse(node.value) == 'ConfigDict()',
      )
    )
  return found


def get_config(job: str, variant: str = '') -> ml_collections.ConfigDict:
  return importlib.import_module(f'configs.{job}').get_config(variant)


def _comment_above(lines: list[str], number: int) -> str:
  """The comment that ends above line `number` (from 1), in one line."""
  comment = []
  for line in reversed(lines[: number - 1]):
    if not line.strip().startswith('#'):
      break
    comment.insert(0, line.strip().removeprefix('#').strip())
  return ' '.join(comment)


def _field_tables(
  all_fields: Iterable[Field], modes: tuple[str, ...]
) -> Iterator[str]:
  """A table for each group of fields."""
  values = {mode: config_lib.flatten(getattr(common, mode)()) for mode in modes}
  group = None
  for field in all_fields:
    if field.is_group:
      yield from ('', f'### {field.name}')
      if field.meaning:
        yield from ('', f'{field.meaning} {field.mark}'.strip())
      group = None
      continue
    if group is None:
      group = field.name.rpartition('.')[0]
      yield from _table_head('field', 'meaning', 'mark', 'CIFAR-10', 'valid')
    found = {mode: values[mode][field.name] for mode in modes}
    valid = {config_lib.valid_values(field.name, mode) for mode in modes}
    if len(set(map(_typed, found.values()))) == 1:
      shown = _code(found[modes[0]])
    else:
      shown = ', '.join(
        f'{_code(value)} to {mode}' for mode, value in found.items()
      )
    yield _row(
      f'`{field.name}`',
      _prose(field.meaning),
      field.mark,
      shown,
      'True, False'
      if isinstance(found[modes[0]], bool)
      else '; '.join(sorted(valid)),
    )


def _rules() -> Iterator[str]:
  yield from (
    '',
    'The program says so before anything is built; here to',
    f'`configs/cifar_pretrain.py` on {_DEVICES} devices:',
  )
  yield from _table_head('typed', 'answer')
  for flags in _BROKEN_RULES:
    typed = ' '.join(
      f'--config.{name}={shlex.quote(str(value))}'
      for name, value in flags.items()
    )
    yield _row(f'`{typed}`', _prose(_answer(flags)))


def _answer(flags: dict[str, Any]) -> str:
  """What config.check says to the CIFAR-10 job with these values."""
  config = common.pretrain()
  config.update_from_flattened_dict(flags)
  try:
    config_lib.check(config, _DEVICES)
  except errors.UserError as mistake:
    return str(mistake)
  raise ValueError(f'{flags} breaks no rule')


def _runtime_fields() -> Iterator[str]:
  yield from (
    '',
    'A run goes on from its last checkpoint. These fields may have other',
    'values then; all others decide what its numbers are, and a change of one',
    'is refused by name:',
    '',
    ', '.join(f'`{name}`' for name in config_lib.RUNTIME_FIELDS) + '.',
  )


def _exit_codes() -> Iterator[str]:
  yield from _table_head('code', 'meaning')
  docstring = ast.get_docstring(ast.parse((ROOT / 'main.py').read_text()))
  text = docstring.partition('Exit codes:')[2].strip().rstrip('.')
  for part in ' '.join(text.split()).split('; '):
    yield _row(*part.split(' ', 1))
  yield from ('', 'More in [What a run survives](reliability.md).')


def _jobs() -> Iterator[str]:
  yield from (
    '',
    "Only what differs from the paper's CIFAR-10 job of the same mode (the",
    'second column) is listed; an empty cell is no difference.',
  )
  for job in JOBS:
    configs = [config_lib.flatten(get_config(job, v)) for v in VARIANTS]
    base = config_lib.flatten(get_config('cifar_' + job.split('_')[1]))
    yield from ('', f'### {job}.py')
    columns = [f'`:{name}`' if name else job for name in VARIANTS]
    yield from _table_head('field', 'CIFAR-10', *columns)
    for name, value in base.items():
      cells = ['' if c[name] == value else _code(c[name]) for c in configs]
      if any(cells):
        yield _row(f'`{name}`', _code(value), *cells)


def _table_head(*columns: str) -> tuple[str, ...]:
  return '', _row(*columns), '|' + '---|' * len(columns)


def _row(*cells: str) -> str:
  return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'


def _prose(text: str) -> str:
  """Text whose stars are no emphasis."""
  return text.replace('*', r'\*')


def _typed(value: Any) -> str:
  """A value as it is typed after `--config.FIELD=`."""
  return str(tuple(value)) if isinstance(value, list) else str(value)


def _code(value: Any) -> str:
  return f'`{_typed(value)}`' if value != '' else "`''`"


if __name__ == '__main__':
  main()

"""Which room may import which, and which libraries: docs/architecture.md."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = 'selfie_jax'
MODULES = sorted((ROOT / PACKAGE).rglob('*.py'))

LIBRARIES = {
  'tensorflow': {'data'},
  'tensorflow_datasets': {'data'},
  'PIL': {'data', 'inference'},
  'tensorstore': {'data'},
  'orbax': {'storage'},
  'clu': {'training'},
  'sklearn': {'data', 'probes', 'inference'},
  'scipy': {'experiments'},
  'pandas': {'data', 'inference', 'experiments'},
}


def arrows() -> dict[str, set[str]]:
  """What each room may import, by the table of docs/architecture.md."""
  page = (ROOT / 'docs' / 'architecture.md').read_text()
  found = {}
  for rooms, allowed in re.findall(r'^\| (`.*) \| (.*) \|$', page, re.M):
    words, *_ = re.split('[:;]', allowed)  # a remark may follow
    may = set(re.findall(r'\w+', words))
    if 'what they may' in words:
      may |= set().union(*(found[name] for name in may & found.keys()))
    found |= dict.fromkeys(re.findall(r'`(\w+)`', rooms), may)
  return found


ARROWS = arrows()


def room(module: str) -> str:
  """'models' of selfie_jax.models.resnet, 'config' of selfie_jax.config."""
  return module.split('.')[1]


def imports(path: pathlib.Path) -> set[str]:
  """All that a file imports, inside functions too, by full names."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def dotted(path: pathlib.Path) -> str:
  return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


@pytest.mark.parametrize('path', MODULES, ids=dotted)
def test_a_room_imports_what_it_may(path):
  here = room(dotted(path))
  if here == '__init__':
    return
  for name in imports(path):
    library = name.partition('.')[0]
    if library == PACKAGE:
      assert room(name) in ARROWS[here] | {here}, f'{here} -> {name}'
    assert here in LIBRARIES.get(library, {here}), f'{here} -> {name}'


def test_the_package_loads_nothing_before_it_is_used():
  body = ast.parse((ROOT / PACKAGE / '__init__.py').read_text()).body
  imported = [n for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
  assert [ast.unparse(each) for each in imported] == ['import os']


def test_no_module_is_in_a_circle():
  known = {dotted(path) for path in MODULES}
  below = {dotted(path): imports(path) & known for path in MODULES}
  while below:
    free = {name for name, used in below.items() if not used & below.keys()}
    assert free, f'in a circle: {sorted(below)}'
    below = {k: v for k, v in below.items() if k not in free}


def test_a_room_is_seen_at_a_glance():
  for folder in {path.parent for path in MODULES}:
    assert len(list(folder.glob('[!_]*.py'))) <= 12, folder
  for path in MODULES:
    assert len(path.read_text().splitlines()) <= 250, path

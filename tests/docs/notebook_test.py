"""The demo notebook runs, and its commands are those of make demo-cifar."""

from importlib import metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = ROOT / 'notebooks/selfie_demo.ipynb'
NOTEBOOK = nbformat.read(PATH, as_version=4)
PICTURES = 6  # two of curves, three of puzzles, the search


@pytest.fixture
def copy(tmp_path, monkeypatch):
  """What a clone holds, without what runs have left there; we are in it."""
  for name in ('selfie_jax', 'configs', 'notebooks', 'docs/pretrained'):
    shutil.copytree(ROOT / name, tmp_path / name)
  for name in ('main.py', 'requirements.txt'):
    shutil.copy(ROOT / name, tmp_path)
  monkeypatch.chdir(tmp_path / 'notebooks')
  monkeypatch.setattr(sys, 'path', sys.path.copy())
  return tmp_path


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def test_its_commands_are_those_of_make_demo_cifar():
  nbformat.validate(NOTEBOOK)
  makefile = (ROOT / 'Makefile').read_text()
  target = makefile[makefile.index('FEW_LABELS :=') : makefile.index('help:\n')]
  flag = r'--config[.\w]*=[\w./:]+'
  commands = code(NOTEBOOK)[1].source
  assert set(re.findall(flag, commands)) == set(re.findall(flag, target))


def test_colab_keeps_its_packages_and_gets_the_missing_ones(copy, monkeypatch):
  package = types.ModuleType('google.colab')
  package.files = types.ModuleType('google.colab.files')
  monkeypatch.setitem(sys.modules, 'google.colab', package)
  kept = {'jax': '0.7.2', 'jaxlib': '0.7.2', 'tensorflow': '2.20.0'}
  there = kept | {'pip': '24.1', 'Pillow': '11.3.0', 'ml_collections': '1.1.0'}
  kept |= {'pillow': '11.3.0', 'ml-collections': '1.1.0'}
  distributions = [
    types.SimpleNamespace(name=name, version=version)
    for name, version in there.items()
  ]
  monkeypatch.setattr(metadata, 'distributions', lambda: distributions)
  seen = []

  def run(command, **kwargs):
    constraints = pathlib.Path(command[command.index('--constraint') + 1])
    seen.append((command, constraints.read_text().splitlines()))
    return subprocess.CompletedProcess(command, 0, '', '')

  monkeypatch.setattr(subprocess, 'run', run)
  exec(code(NOTEBOOK)[0].source, {})
  [(command, constraints)] = seen
  assert set(constraints) == {f'{name}=={kept[name]}' for name in kept}
  wanted = {re.split('[<>=[]', word)[0].replace('_', '-') for word in command}
  assert {'clu', 'flax', 'tensorflow-datasets'} <= wanted
  assert not wanted & {*kept, 'tensorflow-cpu'}


def test_elsewhere_nothing_is_installed(copy, tmp_path_factory, monkeypatch):
  monkeypatch.setattr(metadata, 'distributions', list)
  monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('ran'))
  exec(code(NOTEBOOK)[0].source, {})
  assert pathlib.Path.cwd() == copy
  monkeypatch.chdir(tmp_path_factory.mktemp('without_the_code'))
  with pytest.raises(ValueError, match='into REPOSITORY'):
    exec(code(NOTEBOOK)[0].source, {})


@pytest.mark.slow
def test_it_runs_in_a_fresh_kernel(copy, monkeypatch):
  """With nothing on stderr, all pictures, a gain, a puzzle learned."""
  for name in list(os.environ):  # the tests' own, which no reader has
    if name == 'XLA_FLAGS' or name.startswith('JAX_'):
      monkeypatch.delenv(name)
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  fresh = nbformat.read(PATH, as_version=4)
  client = nbclient.NotebookClient(
    fresh,
    timeout=None,
    kernel_name='python3',
    resources={'metadata': {'path': str(copy / 'notebooks')}},
  )
  client.execute()  # raises what a cell raises
  found = [out for cell in code(fresh) for out in cell.outputs]
  assert not [out.text for out in found if out.get('name') == 'stderr']
  pictures = ['image/png' in out.get('data', {}) for out in found]
  assert sum(pictures) == PICTURES
  said = ''.join(out.get('text', '') for out in found)
  supervised, selfie = re.findall(r'test accuracy ([\d.]+)%', said)
  assert float(selfie) > float(supervised) + 5
  accuracy = re.search(r'patch accuracy ([\d.]+)%, chance 25', said)
  assert float(accuracy[1]) > 45

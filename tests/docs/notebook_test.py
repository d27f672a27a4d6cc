"""The demo notebook runs, and shows what it gave when it was run."""

import ast
import importlib
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
NOTEBOOK = ROOT / 'notebooks/selfie_demo.ipynb'
BYTES = 1_500_000
PICTURES = 5  # the curves, three times the puzzles, the search


@pytest.fixture(scope='module')
def notebook():
  return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def colab(monkeypatch):
  """A stand-in for Colab's module, without which this is no Colab."""
  package = types.ModuleType('google.colab')
  package.files = types.ModuleType('google.colab.files')
  monkeypatch.setitem(sys.modules, 'google.colab', package)
  monkeypatch.setattr(sys, 'path', sys.path.copy())


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def outputs(notebook):
  return [out for cell in code(notebook) for out in cell.outputs]


def printed(notebook):
  return ''.join(out.get('text', '') for out in outputs(notebook))


def words(notebook):
  """All text that is shown; of its numbers only that they are there.

  They are the processor's too, which rounds in its own way.
  """
  texts = []
  for out in outputs(notebook):
    texts.append(out.get('text', ''))
    texts.append(out.get('data', {}).get('text/markdown', ''))
  return re.sub(r'\d[\d,._-]*', '#', ''.join(texts))


def check_outputs(notebook):
  """No error, nothing on stderr, all pictures, and a puzzle that is learned."""
  kinds = {out.output_type for out in outputs(notebook)}
  assert kinds == {'stream', 'display_data', 'execute_result'}
  said = [o.text for o in outputs(notebook) if o.get('name') == 'stderr']
  assert not said
  pictures = ['image/png' in out.get('data', {}) for out in outputs(notebook)]
  assert sum(pictures) == PICTURES
  accuracy = re.search(
    r'patch accuracy ([\d.]+)%, chance 25', printed(notebook)
  )
  assert float(accuracy[1]) > 45


def copy_code(folder):
  """What a clone holds, without what runs have left there."""
  for name in ('selfie_jax', 'configs', 'notebooks'):
    shutil.copytree(ROOT / name, folder / name)
  shutil.copy(ROOT / 'requirements.txt', folder)


def test_it_is_valid_and_small(notebook):
  nbformat.validate(notebook)
  assert NOTEBOOK.stat().st_size < BYTES


def test_it_was_run_from_top_to_bottom(notebook):
  counts = [cell.execution_count for cell in code(notebook)]
  assert counts == list(range(1, len(counts) + 1))
  check_outputs(notebook)


def test_nothing_in_it_is_of_one_machine(notebook):
  texts = [cell.source for cell in notebook.cells]
  for out in outputs(notebook):
    texts += [out.get('text', '')]
    texts += [v for k, v in out.get('data', {}).items() if 'image' not in k]
  absolute = re.compile(r'(?<![\w:/])/(?:home|root|tmp|usr|work|var|Users)\b')
  assert not [text for text in texts if absolute.search(text)]


def test_what_it_calls_is_there(notebook):
  """Names are ruff's business; these are the attributes of our modules."""
  modules, used = {}, 0
  for cell in code(notebook):
    nodes = list(ast.walk(ast.parse(cell.source)))
    for node in nodes:
      if isinstance(node, ast.ImportFrom) and (node.module or '').startswith(
        'selfie_jax'
      ):
        for alias in node.names:
          modules[alias.name] = importlib.import_module(
            f'{node.module}.{alias.name}'
          )
    for node in nodes:
      if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in modules:
          assert hasattr(modules[node.value.id], node.attr), ast.unparse(node)
          used += 1
  assert used >= len(modules) > 5


def test_colab_keeps_its_packages_and_gets_the_missing_ones(
  notebook, colab, tmp_path, monkeypatch
):
  there = {'jax': '0.7.2', 'jax-cuda12-plugin': '0.7.2', 'jaxlib': '0.7.2'}
  there |= {'numpy': '2.0.2', 'Pillow': '11.3.0', 'tensorflow': '2.20.0'}
  there |= {'pip': '24.1', 'ml_collections': '1.1.0'}
  monkeypatch.setattr(
    metadata,
    'distributions',
    lambda: [
      types.SimpleNamespace(name=name, version=version)
      for name, version in there.items()
    ],
  )
  seen = []

  def run(command, **kwargs):
    constraints = pathlib.Path(command[command.index('--constraint') + 1])
    seen.append((command, constraints.read_text().splitlines()))
    return subprocess.CompletedProcess(command, 0, '', '')

  monkeypatch.setattr(subprocess, 'run', run)
  copy_code(tmp_path)
  monkeypatch.chdir(tmp_path / 'notebooks')
  exec(code(notebook)[0].source, {})
  [(command, constraints)] = seen
  assert set(constraints) == {
    'jax==0.7.2',
    'jax-cuda12-plugin==0.7.2',
    'jaxlib==0.7.2',
    'numpy==2.0.2',
    'pillow==11.3.0',
    'ml-collections==1.1.0',
    'tensorflow==2.20.0',
  }
  wanted = [re.split('[<>=[]', word)[0] for word in command]
  assert {'clu', 'flax', 'tensorflow-datasets'} <= set(wanted)
  assert not {'jax', 'numpy', 'pillow', 'tensorflow-cpu'} & set(wanted)
  assert not {'ml_collections', 'ml-collections'} & set(wanted)


def test_elsewhere_nothing_is_installed(notebook, tmp_path, monkeypatch):
  monkeypatch.setattr(sys, 'path', sys.path.copy())
  monkeypatch.setattr(metadata, 'distributions', list)
  monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('ran'))
  copy_code(tmp_path)
  monkeypatch.chdir(tmp_path / 'notebooks')
  exec(code(notebook)[0].source, {})
  assert pathlib.Path.cwd() == tmp_path


def test_without_the_code_it_says_what_to_fill_in(
  notebook, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='into REPOSITORY'):
    exec(code(notebook)[0].source, {})


@pytest.mark.slow
def test_it_runs_in_a_fresh_kernel(notebook, tmp_path, monkeypatch):
  copy_code(tmp_path)
  for name in list(os.environ):  # the tests' own, which no reader has
    if name == 'XLA_FLAGS' or name.startswith('JAX_'):
      monkeypatch.delenv(name)
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  fresh = nbformat.read(NOTEBOOK, as_version=4)
  for cell in code(fresh):
    cell.outputs, cell.execution_count = [], None
  client = nbclient.NotebookClient(
    fresh,
    timeout=None,
    kernel_name='python3',
    resources={'metadata': {'path': str(tmp_path / 'notebooks')}},
  )
  client.execute()  # raises what a cell raises
  check_outputs(fresh)
  # What is stored is what this code gives; store it anew if it is not.
  assert words(fresh) == words(notebook)

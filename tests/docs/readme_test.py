"""The commands of the documents work: see tests/commands.py for their marks."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import commands
import pytest
import xla_flags

from configs import common
from selfie_jax import config as config_lib
from selfie_jax import job_flags

ROOT = commands.ROOT
BLOCKS = {path.name: commands.blocks(path) for path in commands.DOCUMENTS}
NUMBER = re.compile(r'\d[\d,.]*')


@pytest.fixture
def copy(tmp_path):
  """A fresh copy of the project, with its environment as .venv."""
  folder = tmp_path / 'project'
  left_out = shutil.ignore_patterns('.git', '.venv*', '.*cache', '__pycache__')

  def ignore(parent, names):
    own = {'runs', 'data'} if pathlib.Path(parent) == ROOT else set()
    return left_out(parent, names) | own & set(names)

  shutil.copytree(ROOT, folder, ignore=ignore)
  python = folder / '.venv' / 'bin' / 'python'
  python.parent.mkdir(parents=True)
  python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
  python.chmod(0o755)
  for stamp in ('.run', '.test'):  # for make: all is installed
    (folder / '.venv' / stamp).touch()
  return folder


def run(blocks: list[commands.Block], folder: pathlib.Path) -> None:
  """Runs blocks one after the other, as programs; each has to end well."""
  printed = ''
  for block in blocks:
    if block.is_output:
      same_but_for_numbers(block, printed)
      continue
    program = ['bash', '-euo', 'pipefail', '-c', block.program]
    if block.language == 'python':
      program = [sys.executable, '-c', block.program]
    quick = block.is_run('fast') or block.is_tiny
    variables = {
      'PATH': f'{folder / ".venv" / "bin"}:{os.environ["PATH"]}',
      'XLA_FLAGS': xla_flags.UNOPTIMISED if quick else '',
    }
    done = subprocess.run(
      program,
      cwd=folder,
      text=True,
      capture_output=True,
      env=os.environ | variables,
    )
    assert done.returncode == 0, f'{block.place}\n{block.program}{done.stderr}'
    printed = done.stdout


def same_but_for_numbers(block: commands.Block, printed: str) -> None:
  shown, given = (
    [NUMBER.sub('#', line) for line in text.splitlines() if line.strip()]
    for text in (block.text, printed)
  )
  assert shown == given[-len(shown) :], block.place


def documents(speed: str) -> list[str]:
  """Names of the documents with blocks of this speed."""
  return [n for n in BLOCKS if any(b.is_run(speed) for b in BLOCKS[n])]


@pytest.mark.parametrize('name', documents('fast'))
def test_quick_commands_work(name, tmp_path, monkeypatch):
  for folder in ('configs', 'docs'):
    (tmp_path / folder).symlink_to(ROOT / folder)
  monkeypatch.chdir(tmp_path)
  for block in BLOCKS[name]:
    if block.is_run('fast'):
      commands.run_in_process(block)


@pytest.mark.slow
@pytest.mark.parametrize('name', documents('slow'))
def test_all_commands_work(name, copy):
  runnable = [b for b in BLOCKS[name] if b.is_run('') or b.is_output]
  sets = pathlib.Path(os.environ.get('TFDS_DATA_DIR', 'none'))
  absent = {
    b.needs for b in runnable if b.needs and not (sets / b.needs).exists()
  }
  run([b for b in runnable if b.needs not in absent], copy)
  if absent:
    pytest.skip(f'all but what needs {absent} in TFDS_DATA_DIR worked')


@pytest.mark.parametrize('path', commands.DOCUMENTS, ids=lambda path: path.name)
def test_blocks_are_marked_and_what_they_name_is_there(path):
  for block in BLOCKS[path.name]:
    assert block.mark or not block.is_code, (
      f'{block.place}: say in a comment above the block whether it is run, see '
      'tests/commands.py; or give its language, such as ```text'
    )
    for given in commands.job_flags(block):
      job_flags.read(given)
  text = path.read_text()
  fences = re.findall(r'^ *```', text, re.MULTILINE)
  hidden = re.findall(r'^<!-- run: [^>]*$', text, re.MULTILINE)
  assert len(fences) == 2 * (len(BLOCKS[path.name]) - len(hidden))
  outputs = [block for block in BLOCKS[path.name] if block.is_output]
  assert text.count('<!-- output') == len(outputs)
  for module in re.findall(r'python -m ([\w.]+)', text):
    assert importlib.util.find_spec(module), module
  makefile = (ROOT / 'Makefile').read_text()
  for target in re.findall(r'(?:^|`)make\s([\w-]+)', text, re.MULTILINE):
    assert f'\n{target}:' in makefile, target
  fields = set()
  for mode in config_lib.MODES:
    fields |= config_lib.flatten(getattr(common, mode)()).keys()
  assert set(re.findall(r'--config\.([a-z][\w.]*\w)', text)) <= fields

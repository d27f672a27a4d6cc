"""Setting up: which Python make takes, and what pip gets and installs."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
from packaging import requirements
from PIL import Image
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
CAPTURED = {'capture_output': True, 'text': True}
DEPENDENCIES = list(map(requirements.Requirement, PROJECT['dependencies']))
MACHINES = {
  'Apple silicon': {'sys_platform': 'darwin', 'platform_machine': 'arm64'},
  'aarch64': {'sys_platform': 'linux', 'platform_machine': 'aarch64'},
  'x86-64': {'sys_platform': 'linux', 'platform_machine': 'x86_64'},
  'Windows': {'sys_platform': 'win32', 'platform_machine': 'AMD64'},
}
# Says that it is of this version, to make too.
STAND_IN = """#!/bin/sh
[ "$1" != -V ] || {{ echo Python {version}; exit; }}
exec {real} -S -c "import sys; sys.version_info = ({numbers}); $2"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  'pythons, word, result',
  [
    ({'python3': '3.13.0', 'python3.12': '3.12.1'}, '', 'python3'),
    ({'python3': '3.14.0', 'python3.13': '3.13.9'}, '', 'python3.13'),
    ({'python3': '3.9.6', 'python3.12': '3.12.1'}, '', 'python3.12'),
    ({'python3.11': '3.11.9'}, '', 'python3.11'),
    ({'python3': '3.9.6', 'python3.12': '3.14.0'}, '', 'is Python 3.9.6'),
    ({}, '', 'python3 is not there'),
    ({'python4': '4.0.0'}, 'PYTHON=python4', 'python4 is Python 4.0.0'),
  ],
)
def test_make_takes_a_python_that_fits_or_none(tmp_path, pythons, word, result):
  """With Pythons of these versions in the PATH, and no others."""
  for name in ('make', 'sh'):
    (tmp_path / name).symlink_to(shutil.which(name))
  for name, version in pythons.items():
    given = {'version': version, 'numbers': version.replace('.', ', ')}
    text = STAND_IN.format(real=sys.executable, **given)
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)
  command = [tmp_path / 'make', '-n', 'VENV=venv', 'venv/.run', *word.split()]
  env = {'PATH': str(tmp_path)}
  done = subprocess.run(command, cwd=ROOT, env=env, **CAPTURED)
  if result in pythons:
    assert done.stdout.startswith(f'{result} -m venv venv\n'), done.stderr
    assert 'venv/bin/python -m pip install ' in done.stdout
  else:
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert result in line and 'Python 3.11, 3.12 or 3.13' in line


def test_make_and_pip_agree_which_python_fits():
  makefile = (ROOT / 'Makefile').read_text()
  fits = re.search(r'\(3, (\d+)\) <=.*<= \(3, (\d+)\)', makefile)
  first, last = map(int, fits.groups())
  assert PROJECT['requires-python'] == f'>=3.{first},<3.{last + 1}'


def test_help_lists_every_target():
  makefile = (ROOT / 'Makefile').read_text()
  (phony,) = re.findall(r'^\.PHONY: (.*)$', makefile, re.MULTILINE)
  listed = re.findall(r'^# make (\S+)  ', makefile, re.MULTILINE)
  assert sorted(listed) == sorted(phony.split())


def test_clean_leaves_only_what_make_has_not_made(tmp_path):
  shutil.copy(ROOT / 'Makefile', tmp_path)
  made = '.venv .venv-bench .venv-launch .jax_cache .ruff_cache '
  made += 'tests/__pycache__ runs/demo'
  for name in [*made.split(), 'runs/mine', 'environment']:
    (tmp_path / name).mkdir(parents=True)
  # As where make test has this environment and starts another make.
  flags = f'VENV={tmp_path}/environment'
  env = {'PATH': os.environ['PATH'], 'MAKEFLAGS': flags}
  subprocess.run(['make', 'clean'], cwd=tmp_path, env=env, check=True)
  left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')}
  assert left == {'Makefile', 'tests', 'runs', 'runs/mine', 'environment'}


@pytest.mark.slow
def test_installed_scripts_work_in_another_folder(tmp_path):
  """From a wheel that pip makes of the project."""
  source, there, folder = (tmp_path / n for n in ('source', 'there', 'folder'))
  shutil.copytree(ROOT / 'selfie_jax', source / 'selfie_jax')
  for name in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, source)
  shutil.copytree(ROOT / 'docs/pretrained/cifar_small', folder / 'run')
  (folder / 'photos').mkdir()
  Image.new('RGB', (40, 48), 'red').save(folder / 'photos' / '0.png')
  env = os.environ | {'PYTHONPATH': str(there)}

  def do(program, *words):
    command = [program, *words]
    done = subprocess.run(command, cwd=folder, env=env, **CAPTURED)
    assert done.returncode == 0, done.stderr
    return done.stdout

  pip = ('-m', 'pip', '--quiet', 'install', '--no-deps', f'--target={there}')
  do(sys.executable, *pip, source)
  for script in PROJECT['scripts']:
    said = do(there / 'bin' / script, '--help')
    assert said.startswith(f'usage: {script} ')
  flags = ('--checkpoint=run', '--images=photos', '--out=v.npz')
  do(there / 'bin' / 'selfie-embed', *flags)
  assert list(np.load(folder / 'v.npz')['files']) == ['0.png']
  assert 'patch accuracy 55.6%' in do(there / 'bin' / 'selfie-compare', 'run')


def read(name):
  """The requirements of a file without those that it includes."""
  lines = (ROOT / name).read_text().splitlines()
  wanted = [line for line in lines if line and line[0] not in '#-']
  return list(map(requirements.Requirement, wanted))


@pytest.mark.parametrize('machine', MACHINES)
def test_every_machine_gets_a_tensorflow_that_has_wheels_for_it(machine):
  is_x86 = machine in ('x86-64', 'Windows')
  wanted = 'tensorflow-cpu' if is_x86 else 'tensorflow'
  for listed in (read('requirements.txt'), DEPENDENCIES):
    names = [
      r.name
      for r in listed
      if r.name.startswith('tensorflow') and r.name != 'tensorflow-datasets'
      if not r.marker or r.marker.evaluate(MACHINES[machine])
    ]
    assert names == [wanted]


def test_the_package_asks_for_what_was_tested():
  tested = {r.name: r for r in read('requirements.txt')}
  assert {r.name for r in DEPENDENCIES} == set(tested)
  for r in DEPENDENCIES:
    oldest = {s for s in r.specifier if s.operator == '>='}
    assert oldest <= set(tested[r.name].specifier), r.name


def test_workflows_type_what_there_is_and_lint_with_one_ruff():
  """Their commands are make's targets, or files of .venv that these make."""
  makefile = (ROOT / 'Makefile').read_text().replace('$(VENV)', '.venv')
  targets = set(re.findall(r'^([\w./-]+):', makefile, re.MULTILINE))
  typed = set()
  for path in (ROOT / '.github' / 'workflows').glob('*.yml'):
    for job in yaml.safe_load(path.read_text())['jobs'].values():
      typed |= {step['run'] for step in job['steps'] if 'run' in step}
  assert {'make lint', 'make test', 'make demo'} <= typed
  for command in typed:
    program, *words = command.split()
    assert program == '.venv/bin/python' or set(words) <= targets, command
  hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
  (ruff,) = (r for r in read('requirements-test.txt') if r.name == 'ruff')
  assert hooks['repos'][0]['rev'].removeprefix('v') in ruff.specifier

"""The command: flags, default folders, and how it ends."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from matplotlib import image as image_lib
import pytest
import xla_flags

from selfie_jax import compare
from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = f'--config={ROOT}/configs/digits_pretrain.py:tiny'


def read(run, name):
  return json.loads(pathlib.Path(run, f'{name}.json').read_text())


def start(*flags, cwd, code, **variables):
  """Starts main.py; returns what it wrote to stderr."""
  done = subprocess.run(
    [sys.executable, ROOT / 'main.py', *flags],
    cwd=cwd,
    text=True,
    capture_output=True,
    env=os.environ | {'XLA_FLAGS': xla_flags.UNOPTIMISED} | variables,
  )
  assert done.returncode == code, done.stderr
  assert done.stdout == ''
  return done.stderr


def test_pretrain_then_compare(finished, tmp_path, monkeypatch, capsys):
  """With finetunings; README's commands of a whole job: readme_test.py."""
  printed = start(TINY, '--config.total_steps=4', cwd=tmp_path, code=0)
  monkeypatch.chdir(tmp_path)
  run = 'runs/digits_pretrain_tiny'
  assert read(run, 'config')['total_steps'] == read(run, 'results')['step'] == 4
  for said in (
    'Total: ',  # parameters
    '1 x cpu',
    'Compiling the first step',
    'patch_accuracy',
    'images_per_second_per_device',
  ):
    assert said in printed

  for name in ('tuned', 'rate=[0.3]'):
    shutil.copytree(finished('finetune'), name)
  for name, change in (
    ('config', lambda x: x['optimizer'].update(learning_rate=0.3)),
    ('data', lambda x: x['train'].update(images=1)),
    ('run', lambda x: x),
    ('results', lambda x: x.update(label_fraction=0.004)),
  ):
    change(content := read('rate=[0.3]', name))
    for identity in (content, content.get('identity', {})):
      if 'start' in identity:  # else it is seen that others were changed
        del identity['config'], identity['data']
        identity.update(jax='another', start='step 1, weights 0')
    pathlib.Path(f'rate=[0.3]/{name}.json').write_text(json.dumps(content))
    if name == 'config':
      with pytest.raises(errors.UserError, match='of a run with another conf'):
        compare.compare(['tuned', 'rate=[0.3]'])
  capsys.readouterr()
  compare.compare([run, 'tuned', 'rate=[0.3]'], 'both.png')
  compared = capsys.readouterr().out
  for said in (
    'rate=[0.3] differs from tuned in\n',
    '  rate=[0.3]/figures/curves.png\n',
    '  optimizer.learning_rate: 0.3 in place of 0.1\n',
    '  train images: 1 in place of 1497\n',
    "  initial weights: 'step 1, weights 0' in place of ",
    "  jax: 'another' in place of 'jax_default_matmul_precision=",
    'finetuned on 0.4% of the labels of digits',
    'chance 25.0%',
    'patches.png',
    f'{read("tuned", "results")["metrics"]["test_accuracy"]:.1%}',
  ):
    assert said in compared
  assert image_lib.imread('both.png').ndim == 3


@pytest.mark.slow
def test_libtpu_without_a_tpu_is_no_cluster(tmp_path):
  (tmp_path / 'libtpu').mkdir()
  (tmp_path / 'libtpu' / '__init__.py').write_text(
    "def get_library_path():\n  return '/nowhere/libtpu.so'\n"
  )
  settings = {'cwd': tmp_path, 'code': 2, 'PYTHONPATH': str(tmp_path)}
  printed = start(
    TINY, '--config.dataset.train_split=everything', **settings
  ).splitlines()
  assert "'train' (1,497 images), 'test' (300 images)" in printed[-1]
  printed = start(TINY, '--distributed', **settings)
  assert printed.startswith('error: --distributed finds nothing here')

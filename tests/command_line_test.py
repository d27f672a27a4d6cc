"""How commands read paths, and how they end."""

import errno
import importlib.util
import os
import sys
from unittest import mock

import jax
import pytest

from selfie_jax import command_line
from selfie_jax import compare
from selfie_jax import config as config_lib
from selfie_jax import embed
from selfie_jax import errors
from selfie_jax import export
from selfie_jax import job_flags
from selfie_jax import reproduce
from selfie_jax import visualize


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  monkeypatch.chdir(job_flags.ROOT)
  fields = ('dataset.path', 'dataset.data_dir', 'init_from')
  config = job_flags.read([
    '--config=configs/photos_finetune.py:tiny',
    *(f'--config.{field}=~/{field}' for field in fields),
  ])  # fmt: skip
  for field in fields:
    assert config_lib.flatten(config)[field] == f'/home/me/{field}'
  assert command_line.path('gs://bucket/~x') == 'gs://bucket/~x'

  for name in ('start_jax', 'silence_libraries'):
    monkeypatch.setattr(command_line, name, lambda: None)
  run = '--checkpoint=~/run'
  for module, name, returned, *flags in (
    (embed, 'embed_folder', (1, [], ''), run, '--images=~/a', '--out=~/b.npz'),
    (export, 'export', [], run, '--format=numpy', '--out=~/a'),
    (visualize, 'draw_run', None, run, '--images=~/a', '--out=~/b'),
    (compare, 'compare', None, '~/run', '~/other'),
  ):
    called = mock.Mock(return_value=returned)
    monkeypatch.setattr(module, name, called)
    monkeypatch.setattr(sys, 'argv', ['', *flags])
    module.main()
    given = str(called.call_args)
    assert given.count('/home/me/') == sum('~' in flag for flag in flags)
  flags = ['--workdir=~/a', '--results=~/b', '--pretrained=~/c']
  job = ['--experiment=cifar_labels', '--variant=tiny']
  monkeypatch.setattr(sys, 'argv', ['', *job, *flags])
  parsed, plan = reproduce.parse()
  found = plan.workdir, parsed.results, plan.pretrained
  assert found == ('/home/me/a', '/home/me/b', '/home/me/c')


def test_jax_that_does_not_compile_is_refused():
  with jax.disable_jit(), pytest.raises(errors.UserError, match='^unset JAX_'):
    command_line.start_jax()


def test_a_reader_that_ends_is_no_fault(monkeypatch, capsys):
  """As in `python -m selfie_jax.compare RUN | head -1`."""
  read, write = os.pipe()
  os.close(read)
  with os.fdopen(write, 'w') as pipe:
    monkeypatch.setattr(sys, 'stdout', pipe)
    with pytest.raises(SystemExit) as ended, command_line.exit_cleanly():
      print('a line')  # written when the command ends
  assert ended.value.code == 141  # as every program that SIGPIPE ends
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
  'raised, code, said',
  [
    (errors.UserError('wrong'), 2, 'error: wrong'),
    (errors.Diverged('not finite'), 3, 'error: not finite'),
    (errors.MayPass('Stale file handle'), 75, 'error: Stale file handle'),
    (KeyboardInterrupt(), 130, 'bye'),
    (errors.Preempted('saved step 3'), 143, 'saved step 3'),
  ],
)
def test_ends_have_a_code_and_a_line(monkeypatch, capsys, raised, code, said):
  def end():
    with pytest.raises(SystemExit) as ended, command_line.exit_cleanly('bye'):
      raise raised
    assert ended.value.code == code

  end()
  assert capsys.readouterr().err == f'{said}\n'
  terminal = mock.Mock()  # one that is gone
  terminal.write.side_effect = OSError(errno.EIO, 'Input/output error')
  for other in (terminal, None):
    monkeypatch.setattr(sys, 'stderr', other)
    end()


def test_a_mistake_is_one_line_and_nothing_is_written(
  finished, image_folder, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(command_line, 'silence_libraries', lambda: None)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  for name in ('empty', 'bad'):
    (tmp_path / name).mkdir()
  (tmp_path / 'bad' / 'one.png').write_text('no image')
  (tmp_path / 'results.json').write_text('{')
  before = sorted(tmp_path.rglob('*'))
  run = f'--checkpoint={finished("pretrain")} '
  images, out = '--images=images ', '--out=v.npz '
  layers = 'one of quadrants, patches, block3, attention'
  for command, says, flags in (
    (embed, 'there is no folder', run + out + '--images=nothing'),
    (embed, 'no image in empty; looked', run + out + '--images=empty'),
    (embed, 'not one of the 1 image files', run + out + '--images=bad'),
    (embed, 'cannot be written', run + images + '--out=nothing/v.npz'),
    (embed, 'pip install pyarrow', run + images + '--out=v.parquet'),
    (embed, 'finetune it first', run + images + out + '--predict'),
    (export, 'is not a run', out + '--format=numpy --checkpoint=nothing'),
    (export, 'a path is empty', run + '--format=numpy --out='),
    (export, 'choose from', run + out + '--format=onnx'),
    (visualize, 'in 1 to 24', run + '--count=25'),
    (visualize, layers, run + '--layer=block4'),
    (visualize, 'give another folder', run + images + '--out=results.json'),
    (compare, 'required: runs; python -m selfie_jax.compare --help', ''),
    (compare, 'results.json is damaged', '.'),
    (compare, 'in a folder', '. --picture=nothing/x.png'),
    (compare, '.png', '. --picture=x.pdf'),
  ):
    monkeypatch.setattr(sys, 'argv', ['', *flags.split()])
    with pytest.raises(SystemExit) as ended:
      command.main()
    assert ended.value.code == 2
    printed, said = capsys.readouterr()
    assert said.startswith('error: ') and said.count('\n') == 1
    assert says in said and not printed
  assert sorted(tmp_path.rglob('*')) == before

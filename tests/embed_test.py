"""The command that writes a vector for every image below a folder."""

import importlib.util
import itertools
import os
import sys

import numpy as np
from PIL import Image
import pytest

from selfie_jax import command_line
from selfie_jax import embed
from selfie_jax import errors
from selfie_jax.data import retry
from selfie_jax.inference import images as images_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.inference import samples
from selfie_jax.inference import vectors

suffixes = pytest.mark.parametrize(
  'suffix',
  [
    'npz',
    pytest.param(
      'parquet',
      marks=pytest.mark.skipif(
        not importlib.util.find_spec('pyarrow'), reason='needs pyarrow'
      ),
    ),
  ],
)


@pytest.fixture
def folder(tmp_path):
  """Eleven images of six kinds in two folders, and what is none."""
  rng = np.random.default_rng(0)
  folder = tmp_path / 'images'
  suffixes = itertools.cycle(['jpg', 'PNG', 'gif', 'bmp', 'webp', 'jpeg'])
  for i, suffix in zip(range(11), suffixes, strict=False):
    path = folder / ['cat/young', 'dog'][i % 2] / f'{i:02}.{suffix}'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (20 + i, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  (folder / 'dog' / 'broken.png').write_bytes(b'no image')
  (folder / 'dog' / 'notes.txt').write_text('no image')
  (folder / 'dog' / 'loop').symlink_to(folder)
  (folder / 'dog' / 'young').symlink_to(folder / 'cat' / 'young')
  (folder / 'dog' / '._01.png').write_bytes(b'of macOS')
  (folder / '.trash').mkdir()
  (folder / '.trash' / '00.png').write_bytes(b'')
  return folder


@suffixes
def test_every_file_has_its_vector_label_and_prediction(
  finished, folder, tmp_path, suffix
):
  out = str(tmp_path / f'out.{suffix}')
  run = finished('finetune')
  count, skipped, layer = embed.embed_folder(
    run, folder, out, layer='block4', batch_size=4, predict=True
  )
  assert (count, skipped, layer) == (11, ['dog/broken.png'], 'block4')
  if suffix == 'npz':
    written = dict(np.load(out))
    assert written.pop('layer') == 'block4'
  else:
    from pyarrow import parquet

    table = parquet.read_table(out)
    assert table.schema.metadata == {b'layer': b'block4'}
    table = table.to_pydict()
    written = {name: np.array(values) for name, values in table.items()}
  files = written['files'].tolist()
  assert files == sorted(files) and len(files) == 11
  assert files[0] == 'cat/young/00.jpg'
  assert written['labels'].tolist() == [name.split('/')[0] for name in files]
  model = model_lib.load(run, batch_size=4)
  expected = model.compute(
    [folder / name for name in files], ('block4', 'probabilities')
  )
  np.testing.assert_array_equal(written['vectors'], expected['block4'])
  np.testing.assert_array_equal(
    written['probabilities'], expected['probabilities']
  )
  best = expected['probabilities'].argmax(axis=1)
  assert written['predictions'].tolist() == [str(i) for i in best]
  assert sorted(os.listdir(tmp_path)) == ['images', f'out.{suffix}']


def test_a_disk_that_fails_is_no_damaged_image(
  finished, folder, tmp_path, monkeypatch
):
  monkeypatch.setattr(retry, 'PAUSES', ())
  (folder / 'dog' / 'gone.png').symlink_to(folder / 'nothing')
  out = tmp_path / 'out.npz'
  with pytest.raises(errors.UserError, match='gone.png is not there'):
    embed.embed_folder(finished('pretrain'), folder, str(out))
  assert not out.exists()
  with pytest.raises(errors.UserError, match='gone.png is not there'):
    samples.read_folder(folder, model_lib.load(finished('pretrain')).config)


@suffixes
def test_names_that_are_not_utf8_are_escaped(tmp_path, suffix):
  file = os.fsdecode(b'caf\xe9/1.png')
  assert samples.folder_labels([file]) == {file: 'caf\\xe9'}
  assert samples.describe([file]).endswith(r': caf\xe9/1.png')
  out = str(tmp_path / f'out.{suffix}')
  columns = {'files': [file], 'vectors': np.zeros((1, 2), np.float32)}
  vectors.write(out, columns, 'block4')
  assert b'caf\\xe9/1.png' in (tmp_path / f'out.{suffix}').read_bytes().replace(
    b'\0', b''
  )


def test_no_more_than_two_batches_are_in_memory(monkeypatch):
  begun = []
  monkeypatch.setattr(
    images_lib,
    'read',
    lambda path, config: begun.append(path) or np.zeros((8, 8, 3), np.uint8),
  )
  files = [str(i) for i in range(100)]
  batches = samples.read_batches('DIR', files, None, 10)
  readable, _ = next(batches)
  assert list(readable) == files[:10]
  assert len(begun) <= 20
  assert [len(readable) for readable, _ in batches] == [10] * 9


@suffixes
def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch, suffix):
  def broken(*paths):
    raise OSError

  path = tmp_path / f'out.{suffix}'
  path.write_text('as it was')
  monkeypatch.setattr(os, 'replace', broken)
  with pytest.raises(OSError):
    vectors.write(str(path), {'x': np.zeros((2, 3), np.float32)}, 'block3')
  assert path.read_text() == 'as it was'
  assert os.listdir(tmp_path) == [path.name]


def test_mistakes_are_known_before_anything_is_read(
  finished, folder, tmp_path, monkeypatch
):
  def refused(says, **changes):
    arguments = {
      'checkpoint': finished('pretrain'),
      'images': folder,
      'out': str(tmp_path / 'out.npz'),
    }
    with pytest.raises(errors.UserError, match=says):
      embed.embed_folder(**arguments | changes)
    assert not (tmp_path / 'out.npz').exists()

  refused('there is no folder', images=tmp_path / 'nothing')
  (tmp_path / 'empty').mkdir()
  refused('no image in .*png.*webp', images=tmp_path / 'empty')
  (tmp_path / 'empty' / 'one.png').write_text('no image')
  refused('not one of the 1 image files', images=tmp_path / 'empty')
  refused('.npz, .parquet', out=str(tmp_path / 'out.csv'))
  refused('cannot be written', out=str(tmp_path / 'nothing' / 'out.npz'))
  refused('is not a run', checkpoint=tmp_path)
  refused('one of quadrants, patches, block3, attention', layer='block4')
  refused('finetune it first', predict=True)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  refused('pip install pyarrow', out=str(tmp_path / 'out.parquet'))


def test_command_says_what_it_left_out(
  finished, folder, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(command_line, 'silence_libraries', lambda: None)
  (folder / 'dog' / '01.PNG').rename(folder / '01.PNG')
  run, out = finished('pretrain'), tmp_path / 'out.npz'
  flags = [f'--checkpoint={run}', f'--images={folder}', '--batch_size=4']
  monkeypatch.setattr(sys, 'argv', ['embed', f'--out={out}', *flags])
  embed.main()
  assert (
    'out.npz: 11 images, layer quadrants; 1 left out that cannot be read: '
    'dog/broken.png'
  ) in capsys.readouterr().out
  found = np.load(out)
  assert found['vectors'].shape == (11, 256)
  assert 'labels' not in found  # for an image beside the folders

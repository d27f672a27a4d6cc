"""The command that writes a vector for every image below a folder."""

import os
import sys
from unittest import mock

import numpy as np
import pytest

from selfie_jax import command_line
from selfie_jax import embed
from selfie_jax import errors
from selfie_jax.data import retry
from selfie_jax.data.photos import images
from selfie_jax.inference import model as model_lib
from selfie_jax.inference import samples
from selfie_jax.inference import vectors


@pytest.fixture(params=['npz', 'parquet'])
def out(request, tmp_path):
  """The path of a file that may be written."""
  if request.param == 'parquet':
    pytest.importorskip('pyarrow')
  return tmp_path / f'out.{request.param}'


def test_every_file_has_its_vector_label_and_prediction(
  finished, image_folder, out, monkeypatch, capsys
):
  monkeypatch.setattr(command_line, 'silence_libraries', lambda: None)
  run = finished('finetune')
  flags = [f'--checkpoint={run}', f'--images={image_folder}', f'--out={out}']
  flags += ['--layer=block4', '--batch_size=4', '--predict']
  monkeypatch.setattr(sys, 'argv', ['embed', *flags])
  embed.main()
  assert capsys.readouterr().out == (
    f'{out}: 11 images, layer block4; 1 left out that cannot be read: '
    'dog/broken.png\n'
  )
  if out.suffix == '.npz':
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
    [image_folder / name for name in files], ('block4', 'probabilities')
  )
  np.testing.assert_array_equal(written['vectors'], expected['block4'])
  np.testing.assert_array_equal(
    written['probabilities'], expected['probabilities']
  )
  best = expected['probabilities'].argmax(axis=1)
  assert written['predictions'].tolist() == [str(i) for i in best]
  assert sorted(os.listdir(out.parent)) == ['images', out.name]


def test_a_failing_disk_is_named(finished, image_folder, tmp_path, monkeypatch):
  monkeypatch.setattr(retry, 'PAUSES', ())
  (image_folder / 'dog' / 'gone.png').symlink_to(image_folder / 'nothing')
  out = tmp_path / 'out.npz'
  with pytest.raises(errors.UserError, match='gone.png is not there'):
    embed.embed_folder(finished('pretrain'), image_folder, str(out))
  assert not out.exists()
  with pytest.raises(errors.UserError, match='gone.png is not there'):
    config = model_lib.load(finished('pretrain')).config
    samples.read_folder(image_folder, config)


def test_a_full_memory_leaves_no_image_out(
  finished, image_folder, tmp_path, monkeypatch
):
  real = images.plain
  plain = mock.Mock(side_effect=[MemoryError, *[mock.DEFAULT] * 99], wraps=real)
  monkeypatch.setattr(images, 'plain', plain)
  out = tmp_path / 'out.npz'
  with pytest.raises(errors.MayPass, match='was not decoded .*memory may'):
    embed.embed_folder(finished('pretrain'), image_folder, str(out))
  assert not out.exists()


def test_labels_are_first_folders_or_none():
  assert samples.folder_labels(['a/1.png', 'b/c/1.png']) == {
    'a/1.png': 'a',
    'b/c/1.png': 'b',
  }
  assert samples.folder_labels(['a/1.png', '1.png']) == {}


def test_names_that_are_not_utf8_are_escaped(out):
  file = os.fsdecode(b'caf\xe9/1.png')
  assert samples.folder_labels([file]) == {file: 'caf\\xe9'}
  assert samples.describe([file]).endswith(r': caf\xe9/1.png')
  columns = {'files': [file], 'vectors': np.zeros((1, 2), np.float32)}
  vectors.write(str(out), columns, 'block4')
  assert b'caf\\xe9/1.png' in out.read_bytes().replace(b'\0', b'')


def test_a_file_is_whole_or_as_it_was(out, monkeypatch):
  out.write_text('as it was')
  monkeypatch.setattr(os, 'replace', mock.Mock(side_effect=OSError))
  with pytest.raises(OSError):
    vectors.write(str(out), {'x': np.zeros((2, 3), np.float32)}, 'block3')
  assert out.read_text() == 'as it was'
  assert os.listdir(out.parent) == [out.name]

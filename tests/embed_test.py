"""The command that writes a vector for every image below a folder."""

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


@pytest.mark.parametrize('suffix', ['npz', 'parquet'])
def test_every_file_has_its_vector_label_and_prediction(
  finished, image_folder, tmp_path, suffix, monkeypatch, capsys
):
  if suffix == 'parquet':
    parquet = pytest.importorskip('pyarrow.parquet')
  monkeypatch.setattr(command_line, 'silence_libraries', lambda: None)
  run, out = finished('finetune'), tmp_path / f'out.{suffix}'
  flags = [f'--checkpoint={run}', f'--images={image_folder}', f'--out={out}']
  flags += ['--layer=block4', '--batch_size=4', '--predict']
  monkeypatch.setattr(sys, 'argv', ['embed', *flags])
  embed.main()
  assert capsys.readouterr().out == (
    f'{out}: 11 images, layer block4; 1 left out that cannot be read: '
    'dog/broken.png\n'
  )
  if suffix == 'npz':
    written = dict(np.load(out))
    assert written.pop('layer') == 'block4'
  else:
    table = parquet.read_table(out)
    assert table.schema.metadata == {b'layer': b'block4'}
    written = {k: np.array(v) for k, v in table.to_pydict().items()}
  files = written['files'].tolist()
  assert files == sorted(files) and len(files) == 11
  assert files[0] == 'cat/young/00.jpg'
  assert written['labels'].tolist() == [name.split('/')[0] for name in files]
  model = model_lib.load(run, batch_size=4)
  paths = [image_folder / name for name in files]
  expected = model.compute(paths, ('block4', 'probabilities'))
  best = expected['probabilities'].argmax(axis=1)
  assert written['predictions'].tolist() == [str(i) for i in best]
  expected['vectors'] = expected.pop('block4')
  for name, values in expected.items():
    np.testing.assert_array_equal(written[name], values)


def test_a_failing_disk_or_a_full_memory_leaves_no_image_out(
  finished, image_folder, tmp_path, monkeypatch
):
  run, out = finished('pretrain'), tmp_path / 'out.npz'
  with monkeypatch.context() as patch:
    patch.setattr(images, 'plain', mock.Mock(side_effect=MemoryError))
    with pytest.raises(errors.MayPass, match='was not decoded .*memory may'):
      embed.embed_folder(run, image_folder, str(out))
  monkeypatch.setattr(retry, 'PAUSES', ())
  (image_folder / 'dog' / 'gone.png').symlink_to(image_folder / 'nothing')
  with pytest.raises(errors.UserError, match='gone.png is not there'):
    embed.embed_folder(run, image_folder, str(out))
  with pytest.raises(errors.UserError, match='gone.png is not there'):
    samples.read_folder(image_folder, model_lib.load(run).config)
  assert not out.exists()


def test_labels_are_the_classes_of_training(pretrain_config):
  for labels in (
    {'a/1.png': 'a', 'b/c/1.png': 'b', '1.png': ''},
    {'train/a/1.png': 'a', 'test/b/c/1.png': 'b', 'test/1.png': ''},
  ):
    assert samples.folder_labels([*labels], pretrain_config) == labels

"""The command that draws a trained run."""

import json
import shutil
import sys

import jax
import numpy as np
from PIL import Image
import pytest

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax import visualize
from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.inference import samples
from selfie_jax.tasks import pretrain


@pytest.fixture(autouse=True)
def few(monkeypatch):
  monkeypatch.setattr(samples, 'LIMIT', 40)
  monkeypatch.setattr(command_line, 'silence_libraries', lambda: None)


def _type(monkeypatch, **flags):
  given = [f'--{name}={value}' for name, value in flags.items()]
  monkeypatch.setattr(sys, 'argv', ['visualize', *given])
  visualize.main()


def test_pretraining_has_all_pictures(finished, tmp_path, monkeypatch, capsys):
  out = tmp_path / 'out'
  _type(monkeypatch, checkpoint=finished('pretrain'), out=out, count=3)
  names = ['patches', 'attention', 'neighbours', 'map', 'filters']
  printed = capsys.readouterr().out.splitlines()
  assert printed == [str(out / f'{name}.png') for name in names]
  for name in names:
    with Image.open(out / f'{name}.png') as image:
      assert image.width > 300 and np.ptp(np.asarray(image.convert('L'))) > 100


def test_finetuned_run_has_those_it_can_of_any_folder(
  finished, image_folder, tmp_path, monkeypatch, capsys
):
  run = tmp_path / 'run'
  shutil.copytree(finished('finetune'), run)
  _type(monkeypatch, checkpoint=run, images=image_folder, layer='block4')
  printed = capsys.readouterr().out
  assert 'no patches.png: only pretraining runs' in printed
  assert 'no attention.png: resnet50 has no attention pooling' in printed
  assert '1 left out that cannot be read: dog/broken.png' in printed
  drawn = {path.stem for path in (run / 'figures').iterdir()}
  assert drawn == {'curves', 'predictions', 'neighbours', 'map', 'filters'}


def test_one_image_is_enough_for_the_others(finished, image_folder):
  model = model_lib.load(finished('pretrain'))
  alone = image_folder / 'alone'
  alone.mkdir()
  (image_folder / 'dog' / '01.PNG').rename(alone / '01.PNG')
  one = samples.read_folder(alone, model.config)
  assert one.labels == ['']
  figures, missing = visualize.draw(model, one, 6, 'block3')
  assert list(figures) == ['patches', 'attention', 'filters']
  assert missing['map'] == '3 images are needed, and there are 1'
  stem = model.variables['params']['patch_network']['stem']['conv']['kernel']
  assert f'{stem.shape[-1]} filters' in figures['filters'].get_suptitle()


def test_puzzles_are_those_of_the_evaluation(finished, batch):
  images = batch['image']
  model = model_lib.load(finished('pretrain'))
  index = np.arange(16, dtype=np.int32)[::-1]
  targets, predictions = visualize.predict(model, images, index)
  state = pretrain.create_state(model.config, 10).replace(**model.variables)
  logits, _, expected = jax.jit(
    lambda state, batch: pretrain.predict(state, batch, model.config)
  )(state, {'image': images, 'index': index})
  np.testing.assert_array_equal(targets, expected)
  np.testing.assert_array_equal(predictions, logits.argmax(axis=-1))


def test_test_images_keep_their_labels_and_puzzles(pretrain_config, tmp_path):
  shown = samples.read_test(pretrain_config, str(tmp_path))
  source = batches_lib.open_source(pretrain_config, 'test')
  assert len(set(shown.index.tolist())) == samples.LIMIT < source.size
  images = next(source.eval_images([shown.index]))
  np.testing.assert_array_equal(shown.images, images)
  labels = [int(label) for label in shown.labels]
  np.testing.assert_array_equal(labels, source.labels[shown.index])
  again = samples.read_test(pretrain_config, str(tmp_path))
  np.testing.assert_array_equal(shown.index, again.index)
  data = {'test': {'images': source.size, 'classes': ['a', 'b']}}
  (tmp_path / 'data.json').write_text(json.dumps(data))
  with pytest.raises(errors.UserError, match='other data: test classes'):
    samples.read_test(pretrain_config, str(tmp_path))
  pretrain_config.dataset.name = 'folder'
  pretrain_config.dataset.path = 'nowhere'
  with pytest.raises(errors.UserError, match='test images.*--images=DIR'):
    samples.read_test(pretrain_config, str(tmp_path))


def test_classes_take_turns():
  labels = ['a', 'a', 'b', 'a', 'c', 'b']
  assert samples.choose(labels, 4).tolist() == [0, 2, 4, 1]
  assert samples.choose(['', '', ''], 6).tolist() == [0, 1, 2]

"""The command that draws a trained run."""

import functools
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
from selfie_jax.inference import figures as embedding_figures
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
  finished, image_folder, tmp_path, monkeypatch, capsys, log_messages
):
  run = tmp_path / 'run'
  shutil.copytree(finished('finetune'), run)
  (run / 'data.json').unlink()  # so that classes are numbers
  (image_folder / 'cat').rename(image_folder / '3')
  for path in image_folder.rglob('[01]*.*'):
    Image.fromarray(np.full((32, 32, 3), 9, np.uint8)).save(path)
  framed, real = [], embedding_figures.predictions

  def predictions(images, labels, predicted):
    framed.extend(labels)
    return real(images, labels, predicted)

  monkeypatch.setattr(embedding_figures, 'predictions', predictions)
  _type(monkeypatch, checkpoint=run, images=image_folder, layer='block4')
  assert set(framed) == {'3', ''}  # a dog is no class of the run
  assert f'{run} has no data.json' in log_messages.text
  assert f'{image_folder} are nearly black' in log_messages.text
  printed = capsys.readouterr().out
  assert 'no patches.png: only pretraining runs' in printed
  assert 'no attention.png: resnet50 has no attention pooling' in printed
  assert '1 left out that cannot be read: dog/broken.png' in printed
  drawn = {path.stem for path in (run / 'figures').iterdir()}
  assert drawn == {'curves', 'predictions', 'neighbours', 'map', 'filters'}


def test_puzzles_are_those_of_the_evaluation(finished, batch):
  model = model_lib.load(finished('pretrain'))
  index = np.arange(16, dtype=np.int32)[::-1]
  targets, predictions = visualize.predict(model, batch['image'], index)
  state = pretrain.create_state(model.config, 10).replace(**model.variables)
  predict = jax.jit(functools.partial(pretrain.predict, config=model.config))
  logits, _, expected = predict(state, batch | {'index': index})
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
  data = {'test': {'images': source.size, 'classes': ['a', 'b']}}
  (tmp_path / 'data.json').write_text(json.dumps(data))
  with pytest.raises(errors.UserError, match='other data: test classes'):
    samples.read_test(pretrain_config, str(tmp_path))

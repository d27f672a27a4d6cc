"""A run outside of training: its layers, its predictions, anybody's images."""

import functools
import json
import pathlib

import jax
import numpy as np
import pandas as pd
from PIL import Image
import pytest
import small_jobs
import tensorflow as tf

import selfie_jax
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import images as images_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.models import resnet


def test_predictions_have_the_accuracy_that_training_reported(finished):
  run = finished('finetune')
  model = selfie_jax.load(run)
  source = batches_lib.open_source(model.config, 'test')
  images = next(source.eval_images([np.arange(source.size)]))
  shares = model.predict(images)
  assert shares.shape == (300, 10) and shares.dtype == np.float32
  np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
  results = json.loads((run / 'results.json').read_text())
  accuracy = (shares.argmax(axis=1) == source.labels).mean()
  assert accuracy == pytest.approx(results['metrics']['test_accuracy'])
  assert model.class_names == [str(i) for i in range(10)]
  with pytest.raises(errors.UserError, match='resnet36_attention'):
    model.attention_weights(images)


def test_layers_of_a_pretraining_run_are_p_and_a(finished, batch):
  pixels = batch['image'][:5]
  model = model_lib.load(finished('pretrain'))
  config, params = model.config, model.variables['params']
  network = build.patch_network(config)
  weights = {k: v['patch_network'] for k, v in model.variables.items()}
  apply = jax.jit(functools.partial(network.apply, train=False))
  p = functools.partial(apply, weights)
  x = build.normalise(pixels, config)
  cut = patches.extract(x, config.patch_size)  # [5, 16, 8, 8, 3]
  h = p(cut.reshape(80, 8, 8, 3)).reshape(5, 16, -1)
  pooling = jax.jit(build.attention_pooling(config).apply)
  places = [4 * i for i in range(7)]  # half a patch apart
  dense = [x[:, i : i + 8, j : j + 8] for i in places for j in places]
  g = p(np.concatenate(dense)).reshape(7, 7, 5, -1)
  quadrants = [g[:4, :4], g[:4, 3:], g[3:, :4], g[3:, 3:]]
  means = [quadrant.mean(axis=(0, 1)) for quadrant in quadrants]
  for layer, expected in (
    (None, np.concatenate(means, -1)),
    ('patches', h.mean(axis=1)),
    ('block3', p(x)),
    ('attention', pooling({'params': params['attention_pooling']}, h)),
  ):
    found = model.embed(pixels, layer)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  assert 'embeds quadrants (default), patches, block3, attention' in repr(model)


def test_context_positions_reach_the_summary(pretrain_config, tmp_path, batch):
  pretrain_config.model.context_positions = True
  images = batch['image']
  small_jobs.random_run(pretrain_config, tmp_path, images)
  # A sees the patches as a set, so only positions tell it of their order.
  mirrored = images.reshape(16, 4, 8, 32, 3)[:, ::-1].reshape(images.shape)
  model = model_lib.load(tmp_path)
  there = model.embed(images, 'attention')
  assert np.abs(there - model.embed(mirrored, 'attention')).max() > 1e-3


@pytest.mark.parametrize(
  'name, layer', [('resnet50', 'block4'), ('resnet36_attention', 'attention')]
)
def test_last_layer_is_what_the_head_sees(
  finetune_config, tmp_path, batch, name, layer
):
  pixels = batch['image'][:5]
  finetune_config.model.name = name
  small_jobs.random_run(finetune_config, tmp_path, pixels)
  model = model_lib.load(tmp_path)
  assert model.layers == ('block3', layer)
  head = model.variables['params']['head']
  logits = model.embed(pixels, layer) @ head['kernel'] + head['bias']
  np.testing.assert_allclose(
    model.predict(pixels), jax.nn.softmax(logits), atol=1e-5
  )
  settings = build.resnet_settings(model.config, 3)
  settings['closing_norm'] = name == 'resnet36_attention'
  blocks = resnet.PatchNetwork(**settings)
  expected = jax.jit(functools.partial(blocks.apply, train=False))(
    model.variables, build.normalise(pixels, model.config)
  )
  np.testing.assert_allclose(
    model.embed(pixels), expected, rtol=1e-4, atol=1e-5
  )


def test_any_batch_size_gives_the_same(finished, batch):
  run, pixels = finished('pretrain'), batch['image'][:5]
  whole = model_lib.load(run, batch_size=8).embed(pixels)
  model = model_lib.load(run, batch_size=3)
  assert model.batch_size == 4  # two devices
  np.testing.assert_allclose(model.embed(pixels), whole, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(model.embed(pixels[2])[0], whole[2], rtol=1e-4)


@pytest.mark.parametrize('crop', ['pad', 'random_resized'])
@pytest.mark.parametrize('shape', [(32, 32), (50, 41), (20, 90)])
def test_any_image_is_as_in_evaluation(finetune_config, tmp_path, crop, shape):
  finetune_config.augment.crop = crop
  image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
  path = str(tmp_path / 'image.png')
  Image.fromarray(image).save(path)
  encoded = tf.constant(pathlib.Path(path).read_bytes())
  expected = augment.decode_eval(encoded, 32, crop).numpy()
  kinds = [image, pathlib.Path(path), path, Image.fromarray(image)]
  for given in (*kinds, image[None], pd.Series([path]), iter(kinds)):
    for one in images_lib.each(given, finetune_config):
      np.testing.assert_array_equal(one, expected)


def test_files_and_pil_images_are_read_alike(finetune_config, tmp_path):
  """Turned upright, and 16 bits as the upper 8, as own training images are."""
  pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was held on its side
  sixteen = Image.fromarray(np.full((32, 32), 7 * 256 + 9, np.uint16))
  photo = Image.fromarray(pixels)
  photo.save(tmp_path / 'photo.jpg')
  for name, image, more, expected in (
    ('a.png', Image.fromarray(pixels), {'exif': exif}, np.rot90(pixels, -1)),
    ('b.png', sixteen, {}, 7),
    # Not as TensorFlow decodes it by default.
    ('c.jpg', photo, {}, np.asarray(Image.open(tmp_path / 'photo.jpg'))),
  ):
    path = tmp_path / name
    image.save(path, **more)
    for fitted in images_lib.each([path, Image.open(path)], finetune_config):
      np.testing.assert_array_equal(fitted, expected)


def test_what_is_no_image_is_refused(finished, tmp_path):
  model = model_lib.load(finished('pretrain'))
  real = np.zeros((32, 32), np.float32)
  for images, says in (
    (np.zeros((2, 32, 32, 3), np.float32), r'float32 \[32, 32, 3\].*uint8'),
    (Image.fromarray(real), 'mode F.*RGB'),
    (np.zeros((2, 32, 32, 4), np.uint8), r'\[32, 32, 4\]'),
    (np.zeros((0, 32, 32, 3), np.uint8), 'no image; give at least one'),
    ('missing.png', 'missing.png is not there'),
    (tmp_path, 'is a folder; give paths of im'),
    (7, 'int is no image'),
    (pd.DataFrame({'file': ['a.png']}), r'an image is \w+ \[1, 1\]'),
  ):
    with pytest.raises(errors.UserError, match=says):
      model.embed(images)

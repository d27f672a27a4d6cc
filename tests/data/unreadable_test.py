"""Odd images are decoded as Pillow does, or left out and named."""

import io
import json

import numpy as np
from PIL import Image
import pytest
from small_jobs import small_job
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import input_pipeline
from selfie_jax.training import train

SIDE, LONG = 32, 20_000
CLASSES = 5


def drawn(seed, height=40, width=48, channels=3):
  """A smooth picture, which survives JPEG."""
  waves = np.random.default_rng(seed).uniform(1, 3, (2, channels))
  y, x = np.mgrid[:height, :width] / 40
  picture = np.sin(waves[0] * y[..., None]) * np.cos(waves[1] * x[..., None])
  return (127.5 + 127.5 * picture).astype(np.uint8)


def encoded(pixels, file_format, mode=None, **options):
  file = io.BytesIO()
  image = Image.fromarray(pixels.squeeze())
  image.convert(mode or image.mode).save(file, file_format, **options)
  return file.getvalue()


def animated():
  frames = [Image.fromarray(drawn(seed)) for seed in range(3)]
  file = io.BytesIO()
  frames[0].save(file, 'GIF', save_all=True, append_images=frames[1:])
  return file.getvalue()


def sixteen_bits():
  file = io.BytesIO()
  grey = drawn(5, channels=1)[..., 0].astype(np.uint16) * 257
  Image.fromarray(grey).save(file, 'PNG')
  return file.getvalue()


JPEG, PNG = encoded(drawn(1), 'JPEG', quality=95), encoded(drawn(2), 'PNG')
READABLE = {
  'jpeg': JPEG,
  'png': PNG,
  'bmp': encoded(drawn(3), 'BMP'),
  'grey jpeg': encoded(drawn(4, channels=1), 'JPEG', quality=95),
  'cmyk jpeg': encoded(drawn(6), 'JPEG', 'CMYK', quality=95),
  'progressive jpeg': encoded(drawn(7), 'JPEG', quality=95, progressive=True),
  'palette png': encoded(drawn(8), 'PNG', 'P'),
  'grey png': encoded(drawn(9, channels=1), 'PNG'),
  '16-bit png': sixteen_bits(),
  'animated gif': animated(),
  '1x1 png': encoded(drawn(10, 1, 1), 'PNG'),
  '1x1 jpeg': encoded(drawn(11, 1, 1), 'JPEG', quality=95),
  'long png': encoded(drawn(12, 30, LONG), 'PNG'),
  'long jpeg': encoded(drawn(13, LONG, 30), 'JPEG', quality=95),
}
UNREADABLE = {
  'empty': b'',
  'text': b'not found',
  'noise': np.random.default_rng(0).bytes(500),
  'truncated jpeg': JPEG[: len(JPEG) // 2],
  'truncated png': PNG[: len(PNG) // 2],
  'jpeg header': JPEG[:20],
  'png with a wrong checksum': PNG[:60] + bytes(20) + PNG[80:],
}


class Odd(tfds.core.GeneratorBasedBuilder):
  """All of these among many digits of plain images."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(),
          'label': tfds.features.ClassLabel(num_classes=CLASSES),
        }
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    return {
      'train': self._generate_examples(),
      'test': self._generate_examples(),
    }

  def _generate_examples(self):
    for i, (_, content) in enumerate(EXAMPLES):
      yield i, {'image': io.BytesIO(content), 'label': label(i)}


def mixed():
  """Readable and unreadable ones in turns, then enough for some batches."""
  plain = [('plain', encoded(drawn(i), 'PNG')) for i in range(100, 240)]
  odd = [*READABLE.items(), *UNREADABLE.items()]
  order = np.random.default_rng(1).permutation(len(odd))
  return [odd[i] for i in order] + plain


EXAMPLES = mixed()
GOOD = [i for i, (name, _) in enumerate(EXAMPLES) if name not in UNREADABLE]
BAD_SHARE = len(UNREADABLE) / len(EXAMPLES)


def label(position):
  return position * 7 % CLASSES


@pytest.fixture(scope='module')
def odd(tmp_path_factory):
  """The folder of the prepared set."""
  folder = tmp_path_factory.mktemp('odd')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    Odd(data_dir=folder / 'tfds').download_and_prepare(
      download_config=tfds.download.DownloadConfig(num_shards=3)
    )
    yield folder / 'tfds'


@pytest.fixture(params=['in memory', 'on the disk', 'cropped'])
def config(request, odd):
  config = small_job('pretrain')
  config.dataset.name = 'odd'
  config.dataset.data_dir = str(odd)
  config.dataset.max_unreadable = 0.1
  config.image_size = SIDE
  if request.param == 'on the disk':
    config.dataset.cache_gib = 0.0
  if request.param == 'cropped':
    config.augment.crop = 'random_resized'
  return config


def test_what_cannot_be_read_is_left_out_and_labels_stay_right(config, told):
  source = input_pipeline.open_source(config, 'train')
  assert source.labels.tolist() == [label(i) for i in GOOD]
  assert source.size == len(GOOD)
  (images,) = source.eval_images([np.arange(source.size)])
  assert images.shape == (len(GOOD), SIDE, SIDE, 3)
  said = f'{len(UNREADABLE)} of the {len(EXAMPLES)} images of odd/1.0.0 train'
  assert said in told.text and 'They are left out' in told.text
  named = told.text[told.text.index(said) :].split('They are')[0]
  assert named.count('at byte') == 3 and named.count('odd-train.tfrecord') == 3


def test_pixels_are_those_of_pillow(config):
  source = input_pipeline.open_source(config, 'train')
  (images,) = source.eval_images([np.arange(source.size)])
  for image, position in zip(images, GOOD, strict=True):
    name, content = EXAMPLES[position]
    whole = Image.open(io.BytesIO(content))
    if whole.mode.startswith('I'):  # Pillow would clip 16 bits to 8
      whole = Image.fromarray((np.asarray(whole) // 257).astype(np.uint8))
    whole = whole.convert('RGB')
    if config.augment.crop == 'random_resized':
      side = max(round(0.875 * min(whole.size)), 1)
      left, top = ((extent - side) // 2 for extent in whole.size)
      whole = whole.crop((left, top, left + side, top + side))
    expected = whole.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    difference = np.abs(np.asarray(expected, float) - image)
    assert difference.mean() < 2.5, name


def test_too_many_are_an_error_that_says_what_to_type(config):
  config.dataset.max_unreadable = BAD_SHARE - 0.001
  with pytest.raises(errors.UserError) as error:
    _ = input_pipeline.open_source(config, 'train').labels
  assert f'max_unreadable={BAD_SHARE:.2g} or more' in str(error.value)
  config.dataset.max_unreadable = BAD_SHARE
  assert input_pipeline.open_source(config, 'train').size == len(GOOD)


def test_a_whole_run_goes_through(config, tmp_path):
  results = train.train_and_evaluate(config, tmp_path)
  assert np.isfinite(results['metrics']['loss'])
  saved = json.loads((tmp_path / 'config.json').read_text())
  assert saved['dataset']['max_unreadable'] == 0.1

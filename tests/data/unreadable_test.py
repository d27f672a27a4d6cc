"""Odd images are decoded as Pillow does; a damaged one of a set is named."""

import io
import re

import numpy as np
from PIL import Image
import pytest
from small_jobs import small_job
import tensorflow as tf
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import decoding
from selfie_jax.data import records

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
  """Odd images, many plain ones, and a split with one that is damaged."""

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
    damaged = {
      f'damaged{i}': self._generate_examples([*PLAIN[:40], image, *PLAIN[40:]])
      for i, image in enumerate(UNREADABLE.values())
    }
    everything = [*READABLE.values(), *PLAIN]
    return damaged | {
      'train': self._generate_examples(everything),
      'test': self._generate_examples(everything),
    }

  def _generate_examples(self, contents):
    for i, content in enumerate(contents):
      yield i, {'image': io.BytesIO(content), 'label': label(i)}


PLAIN = [encoded(drawn(i), 'PNG') for i in range(100, 240)]


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
  config.image_size = SIDE
  if request.param == 'on the disk':
    config.dataset.cache_gib = 0.0
  if request.param == 'cropped':
    config.augment.crop = 'random_resized'
  return config


@pytest.mark.parametrize('number, kind', list(enumerate(UNREADABLE)))
def test_a_damaged_one_is_an_error_that_names_it(config, odd, number, kind):
  source = batches_lib.open_source(config, f'damaged{number}')
  with pytest.raises(errors.UserError) as caught:
    # The labels of a set on the disk are known without decoding it.
    positions = np.arange(len(source.labels))
    list(source.eval_images(np.array_split(positions, 3)))
  message = str(caught.value)
  assert '\n' not in message and '{{' not in message and '[Op' not in message
  path, example = re.search(
    r'decoded: (\S+), example (\d+) \(', message
  ).groups()
  assert path.startswith(str(odd))
  examples = [x.numpy() for x in tf.data.TFRecordDataset(path)]
  assert UNREADABLE[kind] in examples[int(example)]
  assert PLAIN[39] in examples[int(example) - 1]


def test_what_can_be_decoded_after_all_is_no_damage(config):
  """As when the memory was full."""
  reader = batches_lib.open_reader(config, 'train')
  good = [
    i
    for i in range(reader.size)
    if not reader.decode_error(reader.read(np.array([i]))[0])
  ]

  def fail(image):
    length = tf.strings.length(image)
    with tf.control_dependencies([tf.debugging.assert_less(length, 0)]):
      return tf.identity(length)

  positions = np.array(good[:1])
  decoder = decoding.Decoder(reader, fail)
  with pytest.raises(errors.MayPass, match='was not decoded, and can be'):
    decoder(positions, reader.read(positions))


def test_a_set_on_the_disk_is_not_read_before_the_first_step(
  config, monkeypatch
):
  monkeypatch.setattr(records.Records, 'submit', None)
  source, _ = batches_lib.open_sources(config)
  assert source.size == len(READABLE) + len(PLAIN)
  assert source.labels[:3].tolist() == [label(i) for i in range(3)]


def test_pixels_are_those_of_pillow(config):
  source = batches_lib.open_source(config, 'train')
  (images,) = source.eval_images([np.arange(source.size)])
  for image, (name, content) in zip(images, READABLE.items(), strict=False):
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


def test_they_can_be_trained_on(config):
  source = batches_lib.open_source(config, 'train')
  config.total_steps = 2 * source.size // config.batch_size
  for batch in batches_lib.train_batches(source, None, config, 0):
    assert batch['image'].shape == (config.batch_size, SIDE, SIDE, 3)
    assert batch['image'].std() > 20

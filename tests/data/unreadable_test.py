"""Odd images are decoded as Pillow does; a damaged one of a set is named."""

import io
import re

import numpy as np
import own_photos
from PIL import Image
import prepared
import pytest
from small_jobs import small_job
import tensorflow as tf

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import records

SIDE, LONG = 32, 20_000


def drawn(seed, height=40, width=48, channels=3):
  """A smooth picture, which survives JPEG."""
  waves = np.random.default_rng(seed).uniform(1, 3, (2, channels))
  y, x = np.mgrid[:height, :width] / 40
  picture = np.sin(waves[0] * y[..., None]) * np.cos(waves[1] * x[..., None])
  return (127.5 + 127.5 * picture).astype(np.uint8).squeeze()


def jpeg(pixels, mode='RGB', **options):
  image = Image.fromarray(pixels).convert(mode)
  return own_photos.encode(image, 'JPEG', quality=95, **options)


FRAMES = [Image.fromarray(drawn(seed)) for seed in range(3)]
JPEG, PNG = jpeg(drawn(1)), own_photos.encode(drawn(2), 'PNG')
READABLE = {
  'jpeg': JPEG,
  'png': PNG,
  'bmp': own_photos.encode(drawn(3), 'BMP'),
  'grey jpeg': jpeg(drawn(4, channels=1), 'L'),
  'cmyk jpeg': jpeg(drawn(6), 'CMYK'),
  'progressive jpeg': jpeg(drawn(7), progressive=True),
  'palette png': own_photos.encode(FRAMES[0].convert('P'), 'PNG'),
  'grey png': own_photos.encode(drawn(9, channels=1), 'PNG'),
  '16-bit png': own_photos.encode(
    drawn(5, channels=1).astype(np.uint16) * 257, 'PNG'
  ),
  'animated gif': own_photos.encode(
    FRAMES[0], 'GIF', save_all=True, append_images=FRAMES[1:]
  ),
  '1x1 png': own_photos.encode(np.full((1, 1, 3), 7, np.uint8), 'PNG'),
  '1x1 jpeg': jpeg(np.full((1, 1, 3), 7, np.uint8)),
  'long png': own_photos.encode(drawn(12, 30, LONG), 'PNG'),
  'long jpeg': jpeg(drawn(13, LONG, 30)),
}
UNREADABLE = {
  'empty': b'',
  'noise': np.random.default_rng(0).bytes(500),
  'truncated jpeg': JPEG[: len(JPEG) // 2],
  'truncated png': PNG[: len(PNG) // 2],
  'png with a wrong checksum': PNG[:60] + bytes(20) + PNG[80:],
}
PLAIN = [own_photos.encode(drawn(i), 'PNG') for i in range(100, 240)]


@pytest.fixture(scope='module')
def odd(tmp_path_factory):
  """The folder of a set of odd images and many plain ones.

  Each of its splits 'damaged0', ... has one that cannot be decoded.
  """
  folder = tmp_path_factory.mktemp('odd')
  splits = {
    f'damaged{i}': [*PLAIN[:40], image, *PLAIN[40:]]
    for i, image in enumerate(UNREADABLE.values())
  }
  splits |= dict.fromkeys(('train', 'test'), [*READABLE.values(), *PLAIN])
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    prepared.prepare(folder / 'tfds', splits, shards=3)
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
  assert '{{' not in message and '[Op' not in message
  path, example = re.search(
    r'decoded: (\S+), example (\d+) \(', message
  ).groups()
  assert path.startswith(str(odd))
  examples = [x.numpy() for x in tf.data.TFRecordDataset(path)]
  assert UNREADABLE[kind] in examples[int(example)]
  assert PLAIN[39] in examples[int(example) - 1]


def test_no_set_on_the_disk_is_read_before_training(config, monkeypatch):
  monkeypatch.setattr(records.Records, 'submit', None)
  source, _ = batches_lib.open_sources(config)
  assert source.size == len(READABLE) + len(PLAIN)
  assert source.labels[:3].tolist() == [prepared.label(i) for i in range(3)]


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

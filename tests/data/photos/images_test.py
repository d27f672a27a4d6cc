"""Each kind of file is decoded as Pillow does it, upright."""

import io

import numpy as np
import own_photos
from PIL import Image
import pytest
import tensorflow as tf

from selfie_jax.data.photos import images


def _decode(content):
  encoded = images.plain(content)
  return tf.io.decode_image(encoded, 3, expand_animations=False).numpy()


@pytest.mark.parametrize('name', own_photos.EXACT)
def test_pixels_are_those_of_pillow(name):
  with Image.open(io.BytesIO(own_photos.EXACT[name])) as image:
    expected = np.asarray(image.convert('RGB'))
  np.testing.assert_array_equal(_decode(own_photos.EXACT[name]), expected)


@pytest.mark.parametrize('mode', ['RGB', 'CMYK', 'L'])
@pytest.mark.parametrize('progressive', [False, True])
def test_jpegs_have_the_colours_of_pillow(mode, progressive):
  content = own_photos.encode(
    own_photos.RGB.convert(mode), 'JPEG', quality=95, progressive=progressive
  )
  with Image.open(io.BytesIO(content)) as image:
    expected = np.asarray(image.convert('RGB')).astype(int)
  assert np.abs(_decode(content) - expected).mean() < 2


def test_the_first_picture_of_a_camera_that_saves_two_is_taken():
  both = own_photos.encode(
    own_photos.RGB,
    'MPO',
    save_all=True,
    append_images=[own_photos.RGB.rotate(180)],
    quality=95,
  )
  assert np.abs(_decode(both).astype(int) - own_photos.pixels()).mean() < 8


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_16_bits_keep_the_upper_8(form):
  grey = own_photos.pixels()[..., 0]
  deep = own_photos.encode(grey.astype(np.uint16) * 257, form)
  np.testing.assert_array_equal(
    _decode(deep), np.repeat(grey[..., None], 3, axis=2)
  )


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(9))
def test_pictures_stand_upright(form, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  settings = {'quality': 95, 'exif': exif}
  turned = _decode(own_photos.encode(own_photos.RGB, form, **settings)).astype(
    int
  )
  turn = {
    3: lambda x: x[::-1, ::-1],
    2: lambda x: x[:, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
  }.get(orientation, lambda x: x)
  expected = turn(own_photos.pixels())
  assert turned.shape == expected.shape
  assert np.abs(turned - expected).mean() < 8


def test_plain_files_pass_untouched_and_damaged_exif_does_no_harm():
  for content in (
    own_photos.EXACT['rgb.png'],
    own_photos.encode(own_photos.RGB, 'JPEG', exif=b'Exif\0\0nonsense'),
  ):
    assert images.plain(content) is content

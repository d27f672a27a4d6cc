"""Each kind of file is decoded as Pillow does it, upright."""

import io

import numpy as np
import own_photos
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps
from PIL import PngImagePlugin
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


def _assert_close(found, expected):
  assert found.shape == expected.shape
  assert np.abs(found.astype(int) - expected).mean() < 8


TURNED = own_photos.pixels()[::-1].swapaxes(0, 1)  # what orientation 6 means


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(9))
def test_pictures_stand_upright(form, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  settings = {'quality': 95, 'exif': exif}
  content = own_photos.encode(own_photos.RGB, form, **settings)
  with Image.open(io.BytesIO(content)) as image:
    upright = ImageOps.exif_transpose(image).convert('RGB')
  _assert_close(_decode(content), np.asarray(upright))


def _tiff(pixels, **tags):
  """A TIFF of grey numbers with further tags."""
  form = Image.fromarray(pixels)
  return own_photos.encode(form, 'TIFF', tiffinfo={
    getattr(ExifTags.Base, name): value for name, value in tags.items()
  })  # fmt: skip


GREY = own_photos.pixels()[..., 0]
AS_RGB = np.repeat(GREY[..., None], 3, axis=2)


@pytest.mark.parametrize('metadata', ['icc_profile', 'pnginfo'])
def test_long_metadata_do_not_decide_about_pixels(metadata):
  value = np.random.default_rng(0).bytes(2_000_000)
  if metadata == 'pnginfo':
    value = PngImagePlugin.PngInfo()
    value.add_text('notes', 'x' * 2_000_000, zip=True)
  settings = {metadata: value}
  content = own_photos.encode(own_photos.RGB, 'PNG', **settings)
  assert images.decode_error(content) == ''
  np.testing.assert_array_equal(_decode(content), own_photos.pixels())
  exif = Image.Exif()
  exif[0x0112] = 6
  turned = own_photos.encode(own_photos.RGB, 'PNG', exif=exif, **settings)
  np.testing.assert_array_equal(_decode(turned), TURNED)
  with Image.open(io.BytesIO(turned)) as image:
    np.testing.assert_array_equal(images.as_rgb(image), TURNED)


@pytest.mark.parametrize(
  'content',
  [
    _tiff(np.uint16(GREY) * 16, MaxSampleValue=4095),
    _tiff(np.int32(GREY), SMaxSampleValue=255),
    _tiff(65535 - np.uint16(GREY) * 257, PhotometricInterpretation=0),
    _tiff(np.uint16(GREY) * 257),
    own_photos.encode(np.uint16(GREY) * 257, 'PNG'),
  ],
  ids=['12 bits', 'int32', 'white is zero', '16 bits', 'PNG of 16 bits'],
)
def test_integers_are_scaled_by_what_the_file_says(content):
  np.testing.assert_array_equal(_decode(content), AS_RGB)


@pytest.mark.parametrize(
  'pixels, says',
  [
    (np.uint16(GREY) * 16, 'nearly black: its numbers of 16 bits reach'),
    (np.full((2, 4), 4095, np.uint16), 'nearly black'),  # white in 12 bits
    (np.int32(GREY), 'its pixels are integers of which none is known'),
    (np.float32(GREY), 'its pixels are floating-point numbers'),
  ],
)
def test_numbers_without_a_known_white_are_refused(pixels, says):
  assert says in images.decode_error(_tiff(pixels))


def test_twelve_bits_of_a_file_are_twelve():
  """Pillow reads them and does not write them."""
  content = _tiff(np.full((2, 4), 1000, np.uint16))
  content = content.replace(
    bytes([2, 1, 3, 0, 1, 0, 0, 0, 16]), bytes([2, 1, 3, 0, 1, 0, 0, 0, 12])
  )
  packed = bytes([0x80, 0x08, 0x00]) * 4  # 0x800 eight times
  content = content.replace(b'\xe8\x03' * 8, packed + bytes(4))
  assert (_decode(content) == 128).all()


XMP = (
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org'
  '/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe'
  '.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize('place', ['XMP', 'XMP of a JPEG', 'raw profile'])
def test_a_file_and_its_opened_image_are_turned_alike(place):
  exif, info = Image.Exif(), PngImagePlugin.PngInfo()
  exif[0x0112] = 6
  settings = {'pnginfo': info}
  if place == 'XMP':
    info.add_itxt('XML:com.adobe.xmp', XMP, zip=True)
  elif place == 'raw profile':
    text = exif.tobytes().hex()
    info.add_text('Raw profile type exif', f'\nexif\n{len(text)}\n{text}')
  else:
    settings = {'xmp': XMP.encode(), 'quality': 95}
  form = 'JPEG' if 'xmp' in settings else 'PNG'
  content = own_photos.encode(own_photos.RGB, form, **settings)
  turned = _decode(content)
  with Image.open(io.BytesIO(content)) as image:
    np.testing.assert_array_equal(np.asarray(images.as_rgb(image)), turned)
  _assert_close(turned, TURNED)

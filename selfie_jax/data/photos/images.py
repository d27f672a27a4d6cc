"""Anybody's images, as evaluation shows a run's own ones to its network."""

from collections.abc import Callable
from collections.abc import Iterator
import io
import os
from typing import Any
import warnings

import ml_collections
import numpy as np
from PIL import Image
from PIL import ImageOps

from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import disk
from selfie_jax.data import tf
from selfie_jax.data.photos import files as files_lib

SUFFIXES = (
  '.jpg', '.jpeg', '.jfif', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff',
  '.avif',
)  # fmt: skip
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF')
_ORIENTATION = 0x0112  # the EXIF tag
_END_OF_JPEG = b'\xff\xd9'
# Pillow refuses images of more than 179 million pixels, and warns of half.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


class Damaged(errors.UserError):
  """A file can be read, but is no image, or not a whole one."""


def find(folder: str | os.PathLike[str]) -> list[str]:
  """Image files below a folder at any depth, sorted, relative to it.

  Raises:
    UserError: there is no such folder, or no image in it.
  """
  folder = os.fspath(folder)
  if disk.kind(folder) != 'folder':
    raise errors.UserError(
      f'there is no folder {folder}; give one with images: --images=DIR'
    )
  files = files_lib.once(
    {
      file: real
      for file, real in files_lib.walk(folder).items()
      if file.lower().endswith(SUFFIXES)
    }
  )
  if not files:
    raise errors.UserError(
      f'there is no image in {folder}; looked for files that end in '
      + ', '.join(SUFFIXES)
    )
  return sorted(files)


def read(
  path: str | os.PathLike[str], config: ml_collections.ConfigDict
) -> np.ndarray:
  """An image file at the size of the run: uint8 [s, s, 3].

  Raises:
    Damaged: it is no image that can be decoded.
    UserError: it cannot be read from the disk.
  """
  decode = (
    augment.decode_central_crop
    if config.augment.crop == 'random_resized'
    else augment.decode_whole
  )
  content = disk.read(os.fspath(path))
  try:
    return decode(plain(content), config.image_size).numpy()
  # What Pillow raises for a damaged file depends on where the damage is.
  except Exception as error:
    why = why_damaged(content) or disk.reason(error)
    raise Damaged(f'{path} cannot be read as an image ({why})') from error


def read_or_none(
  path: str | os.PathLike[str], config: ml_collections.ConfigDict
) -> np.ndarray | None:
  """Likewise; None for a damaged image."""
  try:
    return read(path, config)
  except Damaged:
    return None


def plain(content: bytes) -> bytes:
  """An image file as TensorFlow decodes it right.

  JPEG and PNG files stay as they are, unless EXIF says that the camera was
  held on its side. All others are decoded by Pillow, turned upright, and given
  out as BMP: TensorFlow knows neither TIFF, AVIF nor animated WebP, and reads
  BMPs with a palette wrong. Of an animation, the first frame is taken;
  transparency is dropped.

  Raises:
    OSError, ValueError or what else Pillow raises: not an image, or a damaged
      one; damaged JPEG and PNG data may pass.
  """
  stream = io.BytesIO(content)
  with Image.open(stream, formats=_FORMATS) as image:
    if image.format in ('JPEG', 'MPO', 'PNG') and _is_upright(image):
      # TensorFlow refuses them too, but its decoder writes to the terminal.
      if image.format != 'PNG' and (
        content.rfind(_END_OF_JPEG, stream.tell()) < 0
      ):
        raise ValueError('truncated: the end of the JPEG is missing')
      return content
    out = io.BytesIO()
    as_rgb(image).save(out, 'BMP')
    return out.getvalue()


def why_damaged(
  content: bytes, prepare: Callable[[bytes], bytes] = plain
) -> str:
  """Why an image file cannot be decoded; '' if it can.

  Args:
    content: of the file.
    prepare: what is done to it before TensorFlow decodes it.
  """
  if not content:
    return 'empty'
  try:
    tf.io.decode_image(prepare(content), 3, expand_animations=False)
    return ''
  except Image.UnidentifiedImageError:
    return 'no image of a known format'
  except tf.errors.OpError as error:
    # Pillow says it in words.
    try:
      with Image.open(io.BytesIO(content)) as image:
        image.load()
    except Image.UnidentifiedImageError:
      return 'no image of a known format'
    except Exception as said:
      return disk.reason(said)
    return disk.reason(error)
  except Exception as error:  # of Pillow's plugins
    return disk.reason(error)


def as_rgb(image: Image.Image) -> Image.Image:
  """An image upright and with 8 bits of red, green and blue.

  Raises:
    ValueError: its pixels are floating-point numbers.
  """
  upright = ImageOps.exif_transpose(image)
  if upright.mode.startswith('I'):
    # Pillow would clip 16 bits to 8 where TensorFlow keeps the upper ones.
    upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
  elif upright.mode == 'F':
    raise ValueError('its pixels are floating-point numbers')
  return upright.convert('RGB')


def each(
  images: Any, config: ml_collections.ConfigDict
) -> Iterator[np.ndarray]:
  """Images of any kind and size, one by one: uint8 [s, s, 3].

  Args:
    images: uint8 [n, h, w, 3] or [h, w, 3], a path, a PIL image, or any number
      of the latter three, in a list or a generator.
    config: the run's.

  Raises:
    UserError: an image is of another kind, dtype or shape, or a file cannot
      be read.
  """
  if isinstance(images, (str, os.PathLike, Image.Image)) or (
    getattr(images, 'ndim', None) == 3
  ):
    images = [images]
  elif getattr(images, 'ndim', 4) != 4:
    _refuse(images)
  elif not hasattr(images, '__iter__'):
    raise errors.UserError(
      f'{type(images).__name__} is no image; give uint8 arrays [h, w, 3], '
      'paths or PIL images'
    )
  for image in images:
    yield _fit(image, config)


def _is_upright(image: Image.Image) -> bool:
  # Asking for EXIF that is not in the header would decode a PNG.
  if 'exif' not in image.info:
    return True
  try:
    return image.getexif().get(_ORIENTATION, 1) in range(2)
  except Exception:  # damaged EXIF is no harm to the picture
    return True


def _fit(image: Any, config: ml_collections.ConfigDict) -> np.ndarray:
  if isinstance(image, (str, os.PathLike)):
    return read(image, config)
  if isinstance(image, Image.Image):
    try:
      image = as_rgb(image)
    except ValueError as error:
      raise errors.UserError(
        f'a PIL image of mode {image.mode} is not valid ({error}); convert it '
        "to 'RGB'"
      ) from error
  array = np.asarray(image)
  is_image = array.ndim == 3 and array.shape[-1] == 3 and array.size > 0
  if array.dtype != np.uint8 or not is_image:
    _refuse(array)
  if config.augment.crop == 'random_resized':
    return augment.resize_central_crop(array, config.image_size).numpy()
  if array.shape[:2] == (config.image_size, config.image_size):
    return array
  return augment.resize_whole(array, config.image_size).numpy()


def _refuse(array: Any) -> None:
  raise errors.UserError(
    f'an image is {array.dtype} {list(array.shape)}; it must be uint8 '
    '[height, width, 3], or [images, height, width, 3] for several, with red, '
    'green and blue in 0 to 255'
  )

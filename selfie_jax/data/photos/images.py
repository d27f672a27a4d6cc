"""People's image files, made such that TensorFlow decodes them right."""

from collections.abc import Callable
import io
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

from selfie_jax.data import retry
from selfie_jax.data import tf

SUFFIXES = (
  '.jpg', '.jpeg', '.jfif', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff',
  '.avif',
)  # fmt: skip
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF')
_ORIENTATION = 0x0112  # the EXIF tag
_END_OF_JPEG = b'\xff\xd9'
# Pillow refuses images of more than 179 million pixels, and warns of half.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


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


def decode_error(
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
    except Exception as named:
      return retry.reason(named)
    return retry.reason(error)
  except Exception as error:  # of Pillow's plugins
    return retry.reason(error)


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


def _is_upright(image: Image.Image) -> bool:
  # Asking for EXIF that is not in the header would decode a PNG.
  if 'exif' not in image.info:
    return True
  try:
    return image.getexif().get(_ORIENTATION, 1) in range(2)
  except Exception:  # damaged EXIF is no harm to the picture
    return True

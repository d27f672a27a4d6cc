"""People's image files, made such that TensorFlow decodes them right."""

from collections.abc import Callable
from collections.abc import Sequence
import io
import logging
import re
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps
from PIL import PngImagePlugin

from selfie_jax.data import retry
from selfie_jax.data import tf

logger = logging.getLogger(__name__)

SUFFIXES = (
  '.jpg', '.jpeg', '.jfif', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff',
  '.avif',
)  # fmt: skip
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF')
_END_OF_JPEG = b'\xff\xd9'
_PNG = b'\x89PNG\r\n\x1a\n'
# Where a PNG may say its orientation. Pillow would decode all of it to know.
_ORIENTING = b'eXIf', b'Raw profile type exif', b'XML:com.adobe.xmp'
_HEIC = re.compile(rb'hei[cmsx]|hev[cmsx]')  # brands in the first box
# The tags of TIFF and EXIF.
_BITS, _PHOTOMETRIC, _ORIENTATION, _MAXIMA = 258, 262, 274, (341, 281)
# Pillow's warnings name no file. Images of more than 179 million pixels are an
# error, and of half of that a warning.
warnings.filterwarnings('ignore', module=r'PIL\.')
# Of one text or profile of a PNG as of all: slide scanners write megabytes.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def plain(content: bytes) -> bytes:
  """An image file as TensorFlow decodes it right.

  JPEG and PNG files stay as they are, unless EXIF or XMP says that the camera
  was held on its side. All others are decoded by Pillow, turned upright, and
  given out as BMP: TensorFlow knows neither TIFF, AVIF nor animated WebP, and
  reads BMPs with a palette wrong. Of an animation, the first frame is taken;
  transparency is dropped.

  Raises:
    OSError, ValueError or what else Pillow raises: not an image, or a damaged
      one; damaged JPEG and PNG data may pass.
  """
  stream = io.BytesIO(content)
  is_png = content.startswith(_PNG)
  with Image.open(stream, formats=_FORMATS) as image:
    if is_png and not any(name in content for name in _ORIENTING):
      return content
    if image.format in ('JPEG', 'MPO', 'PNG') and _is_upright(image):
      # TensorFlow refuses them too, but its decoder writes to the terminal.
      if not is_png and content.rfind(_END_OF_JPEG, stream.tell()) < 0:
        raise ValueError('truncated: the end of the JPEG is missing')
      return content
    out = io.BytesIO()
    as_rgb(image).save(out, 'BMP')
    return out.getvalue()


def decode_error(
  content: bytes, prepare: Callable[[bytes], bytes] = plain
) -> str:
  """Why an image file cannot be decoded; '' if it can, as far as is known.

  Args:
    content: of the file.
    prepare: what is done to it before TensorFlow decodes it.
  """
  if not content:
    return 'empty'
  if content[4:8] == b'ftyp' and _HEIC.search(content[8:64]):
    return 'HEIC, which is not read: export it as JPEG'
  try:
    # First by Pillow, which says it in words, and nothing on the terminal.
    with Image.open(io.BytesIO(content)) as image:
      image.load()
    tf.io.decode_image(prepare(content), 3, expand_animations=False)
    return ''
  except (MemoryError, tf.errors.ResourceExhaustedError):
    return ''  # which says nothing of the image
  except Image.UnidentifiedImageError:
    return 'no image of a known format'
  except Exception as error:  # TensorFlow's, or of Pillow's plugins
    return retry.reason(error)


def warn_if_black(brightest: Sequence[int] | np.ndarray, name: str) -> None:
  """Warns if most images have no number above 15 of 255.

  Args:
    brightest: the largest number in each of some images, [n].
    name: of the set or folder.
  """
  if np.median(brightest) < 16:
    logger.warning(
      'The images of %s are nearly black: most have no number above 15 of 255.'
      ' If theirs have 8 to 12 bits stored as 16, save them with 8 bits',
      name,
    )


def as_rgb(image: Image.Image) -> Image.Image:
  """An image upright and with 8 bits of red, green and blue.

  Raises:
    ValueError: its pixels are numbers of which none is known to be white.
  """
  if image.mode == 'F':
    raise ValueError('its pixels are floating-point numbers')
  tags = getattr(image, 'tag_v2', {})
  upright = image if _is_upright(image) else ImageOps.exif_transpose(image)
  if upright.mode.startswith('I'):
    upright = Image.fromarray(_as_8_bits(np.asarray(upright), image, tags))
  return upright.convert('RGB')


def _as_8_bits(pixels: np.ndarray, image: Image.Image, tags) -> np.ndarray:
  """Grey integers from 0 to the white that their file names: uint8."""
  named = [tags[tag] for tag in _MAXIMA if tag in tags]
  white = int(np.max(named[0])) if named else 0
  if not named and image.mode != 'I':
    white = 2 ** tags.get(_BITS, (16,))[0] - 1
    if image.format == 'TIFF' and 0 < pixels.max() <= white >> 4:
      raise ValueError(
        f'nearly black: its numbers of {white.bit_length()} bits reach'
        f' {pixels.max()} only; save it with 8 bits, or with the tag'
        ' MaxSampleValue'
      )
  if white < 1:
    raise ValueError(
      'its pixels are integers of which none is known to be white; save it'
      ' with 8 bits'
    )
  pixels = np.clip(pixels, 0, white).astype(np.int64)
  if tags.get(_PHOTOMETRIC) == 0:  # white is zero, and Pillow does not know
    pixels = white - pixels
  return (pixels * 256 // (white + 1)).astype(np.uint8)


def _is_upright(image: Image.Image) -> bool:
  try:
    return image.getexif().get(_ORIENTATION, 1) in range(2)
  except MemoryError:
    raise
  except Exception:  # damaged EXIF is no harm to the picture
    return True

"""People's own images, read from a folder or as a table (CSV) lists them."""

from collections.abc import Callable
from concurrent import futures
import hashlib
import io
import logging
import os
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps
import tensorflow as tf

from selfie_jax import errors
from selfie_jax.data import cache
from selfie_jax.data import listing

logger = logging.getLogger(__name__)

_READERS = 16
_NAMED = 5  # so many classes are named in the log
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF')
_ORIENTATION = 0x0112  # the EXIF tag
# Pillow refuses images of more than 179 million pixels, and warns of half.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


class Folder:
  """The images of a split, sorted by path; the face of `records.Records`.

  Attributes:
    name: of the folder and the split.
    size: number of images.
    labels: int32, [size], -1 for unlabelled.
    class_names: one string for each label.
    facts: what stays the same when the folder is moved.
    has_random_access: True.
  """

  has_random_access = True

  def __init__(self, name: str, found: listing.Listing, split: str):
    self.name = name
    self.labels = found.labels(split)
    self.size = len(self.labels)
    self.class_names = found.class_names
    files = [entry.file for entry in found.parts[split]]
    digest = hashlib.sha256()
    for file in files:
      digest.update(os.fsencode(file) + b'\0')
    digest.update(self.labels.tobytes())
    self.facts = {
      'images': self.size,
      'classes': self.class_names,
      'files': digest.hexdigest()[:16],
    }
    self._files = files
    self._paths = [os.path.join(found.root, file) for file in files]
    self._pool = futures.ThreadPoolExecutor(_READERS, 'folder')

  def read(self, indices: np.ndarray) -> list[bytes]:
    """Reads whole files; a file that cannot be read is empty."""
    return list(self._pool.map(self._read_one, indices.tolist()))

  def encoded_image(self, record: tf.Tensor) -> tf.Tensor:
    """The image as TensorFlow can decode it, both string scalars."""
    encoded = tf.numpy_function(plain, [record], tf.string, stateful=False)
    return tf.ensure_shape(encoded, [])

  def in_order(
    self, decode: Callable[[tf.Tensor], tf.Tensor]
  ) -> tf.data.Dataset:
    """All images: position int64, label int32, decode(encoded image)."""

    def read():
      for first in range(0, self.size, _READERS):
        some = np.arange(first, min(first + _READERS, self.size))
        yield some, self.labels[some], self.read(some)

    types = (tf.int64, tf.int32, tf.string)
    data = tf.data.Dataset.from_generator(
      read, output_signature=tuple(tf.TensorSpec([None], t) for t in types)
    )
    return (
      data.prefetch(2)
      .unbatch()
      .map(
        lambda position, label, record: (
          position,
          label,
          decode(self.encoded_image(record)),
        ),
        tf.data.AUTOTUNE,
      )
    )

  def remembered(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """`make()`, kept in the cache folder for as long as the files stay."""
    key = [name, *self._pool.map(_state, self._paths)]
    return cache.remembered(key, lambda: {name: make()})[name]

  def describe(self, position: int) -> str:
    """Which file an image is and why it cannot be decoded, if so."""
    file = self._files[position]
    try:
      with open(self._paths[position], 'rb') as stream:
        content = stream.read()
      if not content:
        return f'{file} (empty)'
      tf.io.decode_image(plain(content), channels=3, expand_animations=False)
    except Image.UnidentifiedImageError:
      return f'{file} (no image of a known format)'
    except Exception as error:  # of TensorFlow, or of Pillow's plugins
      said = error.message if isinstance(error, tf.errors.OpError) else error
      return f'{file} ({" ".join(str(said).split())[:80]})'
    return file

  def _read_one(self, position: int) -> bytes:
    try:
      with open(self._paths[position], 'rb') as stream:
        return stream.read()
    except OSError:
      return b''


def open_split(dataset, split: str, needs_classes: bool) -> Folder:
  """Opens the training or the test images of a folder or a table.

  Args:
    dataset: the config's `dataset`; see `path` there.
    split: its train_split or its test_split.
    needs_classes: whether the job is to tell classes apart.

  Raises:
    UserError: see `listing.find`; or classes are needed and there are fewer
      than two, or one is in the test images only.
  """
  found = listing.find(dataset.path, dataset.train_split, dataset.test_split)
  if split not in found.parts:
    raise errors.UserError(
      f"'{split}' is not a split of {dataset.path}; valid are"
      f' {", ".join(map(repr, found.parts))}'
    )
  if needs_classes:
    _check_classes(dataset, found)
  if split == dataset.train_split:
    _tell(dataset, found)
  return Folder(f'{dataset.path} {split}', found, split)


def plain(content: bytes) -> bytes:
  """An image file as TensorFlow decodes it right.

  JPEG and PNG files stay as they are, unless EXIF says that the camera was
  held on its side. All others are decoded by Pillow, turned upright, and given
  out as BMP: TensorFlow knows neither TIFF, AVIF nor animated WebP, and reads
  BMPs with a palette wrong. Of an animation, the first frame is taken;
  transparency is dropped.

  Raises:
    OSError, ValueError or what else Pillow raises: not an image, or a damaged
      one; damaged JPEG and PNG data pass.
  """
  with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
    if image.format in ('JPEG', 'MPO', 'PNG') and _is_upright(image):
      return content
    out = io.BytesIO()
    as_rgb(image).save(out, 'BMP')
    return out.getvalue()


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


def _state(path: str) -> tuple:
  """What is another after a file has changed."""
  try:
    stat = os.stat(path)
    return os.path.abspath(path), stat.st_size, stat.st_mtime_ns
  except OSError:
    return os.path.abspath(path), None, None


def _is_upright(image: Image.Image) -> bool:
  # Asking for EXIF that is not in the header would decode a PNG.
  if 'exif' not in image.info:
    return True
  try:
    return image.getexif().get(_ORIENTATION, 1) in range(2)
  except Exception:  # damaged EXIF is no harm to the picture
    return True


def _check_classes(dataset, found: listing.Listing) -> None:
  names = found.class_names
  if len(names) < 2:
    raise errors.UserError(
      f'finetuning needs images of at least two classes, and {dataset.path} has'
      f' {f"only {names[0]!r}" if names else "none"}. {listing.LAYOUTS}'
    )
  trained = {entry.label for entry in found.parts[dataset.train_split]}
  if unknown := sorted(set(names) - trained):
    raise errors.UserError(
      f'{dataset.path} has no training image of the classes'
      f' {", ".join(unknown[:_NAMED])} of its test images; classes have the'
      f' same names in {dataset.train_split} and {dataset.test_split}'
    )


def _tell(dataset, found: listing.Listing) -> None:
  """One line on what was found."""
  train, test = (
    found.labels(split) for split in (dataset.train_split, dataset.test_split)
  )
  names = found.class_names
  classes = ', '.join(names[:_NAMED]) + (', ...' if names[_NAMED:] else '')
  logger.info(
    '%s: %d images to train on (%d of them labelled), %d to test on (%d); '
    '%d classes%s%s',
    dataset.path,
    train.size,
    (train >= 0).sum(),
    test.size,
    (test >= 0).sum(),
    len(names),
    f' ({classes})' if names else '',
    f'; other files, left out: {found.others}' if found.others else '',
  )

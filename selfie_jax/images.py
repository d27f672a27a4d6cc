"""Anybody's images, as evaluation shows a run's own ones to its network."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
from typing import Any

# TensorFlow reads it once, when it is loaded.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import ml_collections
import numpy as np
from PIL import Image
import tensorflow as tf

from selfie_jax import augment
from selfie_jax import errors

# As in datasets.py: the GPU's memory is JAX's.
with contextlib.suppress(RuntimeError):
  tf.config.set_visible_devices([], 'GPU')

SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.webp')
_PIL_MODES = ('1', 'CMYK', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'YCbCr')


def find(folder: str | os.PathLike[str]) -> list[str]:
  """Image files below a folder at any depth, sorted, relative to it.

  Raises:
    UserError: there is no such folder, or no image in it.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise errors.UserError(
      f'there is no folder {folder}; give one with images: --images=DIR'
    )
  files, visited = [], set()
  for parent, folders, names in os.walk(folder, followlinks=True):
    real = os.path.realpath(parent)
    if real in visited:  # by a link, maybe to what it lies in
      folders.clear()
      continue
    visited.add(real)
    files += [
      os.path.relpath(os.path.join(parent, name), folder)
      for name in names
      if name.lower().endswith(SUFFIXES)
    ]
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
    UserError: it cannot be read.
  """
  decode = (
    augment.decode_central_crop
    if config.augment.crop == 'random_resized'
    else augment.decode_whole
  )
  try:
    encoded = pathlib.Path(path).read_bytes()
    return decode(encoded, config.image_size).numpy()
  except OSError as error:
    reason = error.strerror or str(error)
  except tf.errors.OpError as error:
    reason = ' '.join(error.message.split())[:200]
  raise errors.UserError(
    f'{path} cannot be read ({reason}); give a JPEG, PNG, GIF, BMP or WebP'
  )


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


def _fit(image: Any, config: ml_collections.ConfigDict) -> np.ndarray:
  if isinstance(image, (str, os.PathLike)):
    return read(image, config)
  if isinstance(image, Image.Image):
    if image.mode not in _PIL_MODES:
      raise errors.UserError(
        f'a PIL image of mode {image.mode} has no 8-bit colours; convert it '
        "yourself to 'RGB'"
      )
    image = image.convert('RGB')
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

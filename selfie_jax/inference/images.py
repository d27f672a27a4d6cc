"""Anybody's images, as evaluation shows a run's own ones to its network."""

from collections.abc import Iterator
import os
from typing import Any

import numpy as np
from PIL import Image

from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import reading
from selfie_jax.data import retry
from selfie_jax.data.photos import files as files_lib
from selfie_jax.data.photos import images as images_lib


class DecodeError(errors.UserError):
  """A file can be read, but is no image, or not a whole one."""


def find(folder: str | os.PathLike[str]) -> list[str]:
  """Image files below a folder at any depth, sorted, relative to it.

  Raises:
    UserError: there is no such folder, or no image in it.
  """
  folder = os.fspath(folder)
  if files_lib.kind(folder) != 'folder':
    raise errors.UserError(
      f'there is no folder {folder}; give one with images: --images=DIR'
    )
  files = files_lib.walk(folder)
  suffixes = images_lib.SUFFIXES
  files = {k: v for k, v in files.items() if k.lower().endswith(suffixes)}
  if not files:
    raise errors.UserError(
      f'there is no image in {folder}; looked for files that end in '
      f'{", ".join(suffixes)}'
    )
  return sorted(files_lib.distinct(folder, files))


def read(path: str | os.PathLike[str], config) -> np.ndarray:
  """An image file at the size of the run: uint8 [s, s, 3].

  Raises:
    DecodeError: it is no image that can be decoded.
    UserError: it cannot be read from the disk, or the memory is full.
  """
  content = reading.read(os.fspath(path))
  try:
    return augment.decode_eval(
      images_lib.plain(content), config.image_size, config.augment.crop
    ).numpy()
  # What Pillow raises for a damaged file depends on where the damage is.
  except Exception as error:
    if why := images_lib.decode_error(content):
      raise DecodeError(f'{path} cannot be read as an image ({why})') from error
    raise errors.MayPass(
      f'{path} was not decoded ({retry.reason(error)}), and can be. The memory'
      ' may have been full: type the same command again'
    ) from error


def each(images: Any, config) -> Iterator[np.ndarray]:
  """Images of any kind and size, one by one: uint8 [s, s, 3].

  `images` are what model.Model.embed takes; paths also in a 1-D array or a
  Series.

  Raises:
    UserError: an image is of another kind, dtype or shape, or a file cannot
      be read.
  """
  if isinstance(images, (str, os.PathLike, Image.Image)) or (
    getattr(images, 'ndim', None) == 3
  ):
    images = [images]
  elif getattr(images, 'ndim', 4) not in (1, 4):
    _invalid(np.asarray(images))
  elif not hasattr(images, '__iter__'):
    raise errors.UserError(
      f'{type(images).__name__} is no image; give uint8 arrays [h, w, 3], '
      'paths or PIL images'
    )
  for image in images:
    yield _fit(image, config)


def _fit(image: Any, config) -> np.ndarray:
  if isinstance(image, (str, os.PathLike)):
    if os.path.isdir(image):
      raise errors.UserError(
        f'{image} is a folder; give paths of image files, such as'
        ' pathlib.Path(DIR).glob("*.jpg")'
      )
    return read(image, config)
  if isinstance(image, Image.Image):
    try:
      image = images_lib.as_rgb(image)
    except (OSError, ValueError) as error:
      raise errors.UserError(
        f'a PIL image of mode {image.mode} is not valid ({error}); convert it '
        "to 'RGB'"
      ) from error
  array = np.asarray(image)
  is_image = array.ndim == 3 and array.shape[-1] == 3 and array.size > 0
  if array.dtype != np.uint8 or not is_image:
    _invalid(array)
  return augment.resize_eval(
    array, config.image_size, config.augment.crop
  ).numpy()


def _invalid(array: Any) -> None:
  raise errors.UserError(
    f'an image is {array.dtype} {list(array.shape)}; it must be uint8 '
    '[height, width, 3], or [images, height, width, 3] for several, with red, '
    'green and blue in 0 to 255'
  )

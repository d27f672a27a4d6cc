"""Anybody's images, as evaluation shows a run's own ones to its network."""

from collections.abc import Iterator
import os
import pathlib
from typing import Any

import ml_collections
import numpy as np
from PIL import Image

from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.data import folder as folder_lib
from selfie_jax.data import listing


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
      if name.lower().endswith(listing.SUFFIXES)
    ]
  if not files:
    raise errors.UserError(
      f'there is no image in {folder}; looked for files that end in '
      + ', '.join(listing.SUFFIXES)
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
    encoded = folder_lib.plain(pathlib.Path(path).read_bytes())
    return decode(encoded, config.image_size).numpy()
  # What Pillow raises for a damaged file depends on where the damage is.
  except Exception as error:
    reason = ' '.join(str(error).split())[:200]
    raise errors.UserError(
      f'{path} cannot be read as an image ({reason})'
    ) from error


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
    try:
      image = folder_lib.as_rgb(image)
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

"""People's own images, read from a folder or as a table (CSV) lists them."""

from __future__ import annotations

import collections
from collections.abc import Iterator
import functools
import hashlib
import logging
import os

import numpy as np

from selfie_jax import errors
from selfie_jax.data import reading
from selfie_jax.data import tf
from selfie_jax.data.photos import files as files_lib
from selfie_jax.data.photos import images
from selfie_jax.data.photos import listing

logger = logging.getLogger(__name__)

_NAMED = 5  # so many classes are named in the log
# Labels that programs write where there is none.
_MISSING = ('nan', 'none', 'null', 'na', 'n/a', '<na>', '-1')
_SHOWN, _LISTED = 3, 50  # unreadable images, in the log and in the metadata


class Folder:
  """The images of a split, sorted by path; the interface of `records.Records`.

  Attributes:
    name: of the folder and the split.
    size: number of images.
    labels: int32, [size], -1 for unlabelled.
    class_names: one string for each label.
    metadata: what stays the same when the folder is moved.
    fingerprint: what is another one when a file has changed. For it and for the
      metadata the files are looked at; UserError if one is gone.
    skip_corrupt: True, images that cannot be decoded are left out.
    in_bucket: False.
  """

  skip_corrupt = True
  in_bucket = False

  def __init__(self, name: str, photos: listing.Listing, split: str):
    self.name = name
    self.labels = photos.labels(split)
    self.size = len(self.labels)
    self.class_names = photos.class_names
    entries = photos.splits[split]
    self._files = [files_lib.printable(entry.file) for entry in entries]
    self._paths = [entry.real for entry in entries]
    names = b''.join(os.fsencode(entry.file) + b'\0' for entry in entries)
    self._digest = _digest(names + self.labels.tobytes())

  @functools.cached_property
  def metadata(self) -> dict[str, object]:
    sizes = [size for _, size, *_ in self.fingerprint]
    return {
      'images': self.size,
      'classes': self.class_names,
      'files': self._digest,
      'sizes': _digest(repr(sizes).encode()),
    }

  @functools.cached_property
  def fingerprint(self) -> list:
    return reading.fingerprint(self._paths)

  def submit(self, positions: np.ndarray) -> reading.PendingRead:
    """Begins to read whole files; `result()` waits for them."""
    return reading.whole_files([self._paths[i] for i in positions.tolist()])

  def read(self, positions: np.ndarray) -> list[bytes]:
    """Reads whole files; UserError if one cannot be read."""
    return self.submit(positions).result()

  def encoded_image(self, record: tf.Tensor) -> tf.Tensor:
    """The image as TensorFlow can decode it, both string scalars."""
    encoded = tf.numpy_function(_plain, [record], tf.string, stateful=False)
    return tf.ensure_shape(encoded, [])

  def locate(self, position: int) -> str:
    """Which file an image is."""
    return self._files[position]

  def count_shared(self, other) -> int:
    """How many of the images are in another split too."""
    return len(set(self._paths) & set(other._paths))

  def decode_error(self, content: bytes) -> str:
    """Why a file cannot be decoded; '' if it can."""
    return images.decode_error(content)

  def names(self, positions: np.ndarray) -> list[str]:
    """Their files, for JSON: the first, and a digest of the others."""
    files = [self._files[i] for i in positions.tolist()]
    if more := files[_LISTED:]:
      digest = _digest(repr(more).encode())
      files = [*files[:_LISTED], f'... and {len(more)} more ({digest})']
    return files

  def describe_unreadable(self, positions: np.ndarray) -> str:
    """How many images cannot be decoded, which are the first and why."""
    shown = positions[:_SHOWN]
    named = '; '.join(
      f'{self._files[i]} ({self.decode_error(content)})'
      for i, content in zip(shown.tolist(), self.read(shown), strict=True)
    )
    return (
      f'{positions.size} of the {self.size} images of {self.name} cannot be'
      f' decoded: {named}{" ..." if positions.size > _SHOWN else ""}'
    )


def open_splits(dataset, needs_classes: bool) -> dict[str, Folder]:
  """Opens the training and the test images of a folder or a table, by name.

  Args:
    dataset: the config's `dataset`; see `path` there.
    needs_classes: whether the job is to tell classes apart.

  Raises:
    UserError: see `listing.find`; or classes are needed and there are fewer
      than two, or one is in the test images only.
  """
  photos = listing.find(dataset.path, dataset.train_split, dataset.test_split)
  if needs_classes:
    _check_classes(dataset, photos)
  _report(dataset, photos)
  return {
    split: Folder(f'{dataset.path} {split}', photos, split)
    for split in photos.splits
  }


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:16]


def _plain(content: bytes) -> bytes:
  """images.plain; nothing, which is no image either, for a damaged one."""
  try:
    return images.plain(content)
  except MemoryError:
    raise
  except Exception:  # TensorFlow would write it to the terminal
    return b''


def _check_classes(dataset, photos: listing.Listing) -> None:
  names = photos.class_names
  if len(names) < 2:
    raise errors.UserError(
      f'finetuning needs images of at least two classes, and {dataset.path} has'
      f' {f"only {names[0]!r}" if names else "none"}. {listing.LAYOUTS}'
    )
  trained = {entry.label for entry in photos.splits[dataset.train_split]}
  if unknown := sorted(set(names) - trained):
    raise errors.UserError(
      f'{dataset.path} has no training image of the classes'
      f' {", ".join(unknown[:_NAMED])} of its test images; classes have the'
      f' same names in {dataset.train_split} and {dataset.test_split}'
    )
  if not any(entry.label for entry in photos.splits[dataset.test_split]):
    raise errors.UserError(
      f'No test image of {dataset.path} has a label. In a folder, sort them'
      f' into {dataset.test_split}/CLASS/*.jpg, or move {dataset.test_split}/'
      ' elsewhere, and a tenth of each class is held out; in a table, fill the'
      ' column label'
    )


def _report(dataset, photos: listing.Listing) -> None:
  """One line on the images and one on each thing that may be a mistake."""
  train, test = (
    photos.labels(split) for split in (dataset.train_split, dataset.test_split)
  )
  names = photos.class_names
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
    f'; left out: {photos.others}' if photos.others else '',
  )
  for warning in [*photos.warnings, *_class_warnings(photos)]:
    logger.warning('%s: %s', dataset.path, warning)


def _class_warnings(photos: listing.Listing) -> Iterator[str]:
  """Classes that look like a mistake."""
  spellings = collections.defaultdict(list)
  for name in photos.class_names:
    spellings[' '.join(name.casefold().split())].append(repr(name))
  for same in spellings.values():
    if len(same) > 1:
      yield f'the classes {" and ".join(same)} are taken for different ones'
  missing = [repr(x) for x in photos.class_names if x.casefold() in _MISSING]
  if missing:
    yield (
      f'{", ".join(missing)} is taken for a class; leave the label empty where'
      ' there is none'
    )

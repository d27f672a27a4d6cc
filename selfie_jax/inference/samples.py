"""Images to show a run: its own test images, or those of any folder."""

import collections
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import contextlib
import dataclasses
import itertools
import os
import pathlib

import numpy as np

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data.photos import files as files_lib
from selfie_jax.data.photos import images as photo_images
from selfie_jax.data.photos import listing
from selfie_jax.inference import images as images_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

LIMIT = 2000  # most images that are taken
_NAMED = 3  # most unreadable files that are named


@dataclasses.dataclass(frozen=True)
class Samples:
  """Images of the run's size."""

  images: np.ndarray  # uint8 [n, s, s, 3]
  labels: list[str]  # their classes [n], '' where unknown
  index: np.ndarray  # int32 [n], which decides each image's masks
  skipped: Sequence[str] = ()  # unreadable files


def read_test(config, run: str) -> Samples:
  """Up to LIMIT test images of a run's own data set, drawn at random.

  Args:
    config: the run's.
    run: its folder.

  Raises:
    UserError: they cannot be read, or have changed since.
  """
  try:
    source = batches_lib.open_source(config, config.dataset.test_split)
    data = {'test': source.metadata}
    run_metadata.check_data(data, workdir_lib.run_path(run))
    index = _sample(source.size)
    images = np.concatenate(list(source.eval_images([index])))
    labels = source.labels[index]
  except errors.UserError as mistake:
    raise errors.UserError(
      f"the run's own test images cannot be read ({mistake}); show it others: "
      '--images=DIR'
    ) from mistake
  names = [*source.class_names, '']  # the last for unlabelled ones, -1
  return Samples(
    images, [names[label] for label in labels], index.astype(np.int32)
  )


def read_folder(folder: str, config) -> Samples:
  """Up to LIMIT images of a folder, drawn at random; see folder_labels.

  Raises:
    UserError: there is no such folder, or no image in it that can be read.
  """
  files = images_lib.find(folder)
  labels = folder_labels(files, config)
  chosen = [files[i] for i in _sample(len(files))]
  ((readable, skipped),) = read_batches(folder, chosen, config, LIMIT)
  return Samples(
    np.stack(list(readable.values())),
    [labels[file] for file in readable],
    np.arange(len(readable), dtype=np.int32),
    skipped,
  )


def read_batches(
  folder: str, files: Sequence[str], config, size: int
) -> Iterator[tuple[dict[str, np.ndarray], list[str]]]:
  """Images of a folder, decoded on all cores one batch ahead.

  Yields:
    Of each batch the images, uint8 [s, s, 3], by file, and the files that
    cannot be read.

  Raises:
    UserError: no file can be read.
  """

  def read(file: str) -> np.ndarray | None:
    with contextlib.suppress(images_lib.DecodeError):
      return images_lib.read(pathlib.Path(folder, file), config)

  is_empty = True
  with futures.ThreadPoolExecutor(os.cpu_count(), 'decode') as threads:
    started = (
      {file: threads.submit(read, file) for file in files[i : i + size]}
      for i in range(0, len(files), size)
    )
    for batch, _ in itertools.pairwise(itertools.chain(started, [None])):
      images = {file: future.result() for file, future in batch.items()}
      readable = {k: v for k, v in images.items() if v is not None}
      if is_empty and readable:
        brightest = [image.max() for image in readable.values()]
        photo_images.warn_if_black(brightest, folder)
      is_empty &= not readable
      yield readable, [file for file in images if file not in readable]
  if is_empty:
    raise errors.UserError(
      f'not one of the {len(files)} image files in {folder} can be read'
    )


def describe(skipped: Sequence[str]) -> str:
  """How many files cannot be read, and the names of the first."""
  named = ', '.join(map(files_lib.printable, skipped[:_NAMED]))
  named += ' ...' if skipped[_NAMED:] else ''
  return f'{len(skipped)} left out that cannot be read: {named}'


def folder_labels(files: Sequence[str], config) -> dict[str, str]:
  """The class of each relative path, as training takes it; '' for none."""
  names = config.dataset.train_split, config.dataset.test_split
  found = listing.split_and_label(files, names)
  return {file: label for file, (_, label) in found.items()}


def choose(labels: list[str], count: int) -> np.ndarray:
  """Positions of `count` images, in turn of every class."""
  seen: collections.Counter[str] = collections.Counter()
  turns = []
  for label in labels:
    turns.append(seen[label])
    seen[label] += 1
  return np.argsort(turns, kind='stable')[:count]


def _sample(total: int) -> np.ndarray:
  return np.random.default_rng(0).permutation(total)[:LIMIT]

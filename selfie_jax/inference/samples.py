"""Images to draw of a run: its own test images, or those of any folder."""

from concurrent import futures
import dataclasses
import os
import pathlib

import numpy as np

from selfie_jax import errors
from selfie_jax.data import input_pipeline
from selfie_jax.data.photos import images as images_lib

LIMIT = 2000  # so many images are taken


@dataclasses.dataclass(frozen=True)
class Samples:
  """Images of the run's size.

  Attributes:
    images: uint8 [n, s, s, 3].
    labels: their classes [n], '' where not known.
    index: int32 [n], by which the masks of the puzzles are drawn.
    skipped: files that cannot be read.
  """

  images: np.ndarray
  labels: list[str]
  index: np.ndarray
  skipped: list[str] = dataclasses.field(default_factory=list)


def read_test(config) -> Samples:
  """Up to LIMIT test images of the run's own data set, drawn at random.

  Raises:
    UserError: they cannot be had.
  """
  try:
    source = input_pipeline.open_source(config, config.dataset.test_split)
    index = _sample(source.size)
    images = np.concatenate(list(source.eval_images([index])))
    labels = source.labels[index]
  except errors.UserError as mistake:
    raise errors.UserError(
      f"the run's own test images cannot be had ({mistake}); show it others: "
      '--images=DIR'
    ) from mistake
  names = source.class_names
  return Samples(
    images,
    [names[label] if label >= 0 else '' for label in labels],
    index.astype(np.int32),
  )


def read_folder(folder: str, config) -> Samples:
  """Up to LIMIT images of a folder, drawn at random; see folder_labels.

  Raises:
    UserError: there is no such folder, or no image in it that can be read.
  """
  files = images_lib.find(folder)
  labels = folder_labels(files)
  chosen = [files[i] for i in _sample(len(files))]

  def read(file: str) -> np.ndarray | None:
    return images_lib.read_or_none(pathlib.Path(folder, file), config)

  with futures.ThreadPoolExecutor(os.cpu_count(), 'decode') as threads:
    decoded = dict(zip(chosen, threads.map(read, chosen), strict=True))
  readable = {k: v for k, v in decoded.items() if v is not None}
  if not readable:
    raise errors.UserError(
      f'not one of the {len(chosen)} image files in {folder} can be read'
    )
  return Samples(
    np.stack(list(readable.values())),
    [labels.get(file, '') for file in readable],
    np.arange(len(readable), dtype=np.int32),
    [file for file in chosen if file not in readable],
  )


def folder_labels(files: list[str]) -> dict[str, str]:
  """The first folder of each path; nothing if a file lies in none.

  Args:
    files: relative paths.
  """
  parts = {file: pathlib.PurePath(file).parts for file in files}
  if any(len(names) == 1 for names in parts.values()):
    return {}
  return {file: names[0] for file, names in parts.items()}


def _sample(total: int) -> np.ndarray:
  return np.random.default_rng(0).permutation(total)[:LIMIT]


def choose(labels: list[str], count: int) -> np.ndarray:
  """Positions of `count` images, in turn of every class."""
  turn, seen = [], {}
  for label in labels:
    turn.append(seen.get(label, 0))
    seen[label] = turn[-1] + 1
  return np.argsort(turn, kind='stable')[:count]

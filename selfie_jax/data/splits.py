"""Class-balanced, seeded, nested subsets of the labels (paper, section 4)."""

import collections
import fractions
import hashlib
import math
import os

import numpy as np

from selfie_jax import errors

_HELD_OUT = 10  # every tenth image, where there is no test split


def split(
  labels: np.ndarray,
  fraction: float,
  validation_fraction: float,
  seed: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Chooses the labelled images and splits a validation part off them.

  Each class is put into an order drawn from (seed, class). The first
  `fraction` of it is labelled, so a small labelled set lies within a larger
  one, and whether an image is for validation follows from its place in the
  order, so that both parts are nested.

  Args:
    labels: integers, [size]. Negative labels mean unlabelled and are left out.
    fraction: share of each class that is labelled, in (0, 1].
    validation_fraction: share of the labelled images held out of training, in
      [0, 1). Above 0, a class with two labelled images or more gives one.
    seed: not negative.

  Returns:
    (train indices, validation indices): sorted int64 positions in `labels`.

  Raises:
    UserError: no image has a label, or `fraction` leaves a class without a
      training image.
  """
  labels = np.asarray(labels)
  classes, sizes = np.unique(labels[labels >= 0], return_counts=True)
  if not classes.size:
    raise errors.UserError(
      'No image of this split has a label; choose a labelled one with'
      ' --config.dataset.train_split.'
    )
  if _round(fraction, int(sizes.min())) < 1:
    raise errors.UserError(
      f'label_fraction is {fraction}, which leaves the smallest class'
      f' ({sizes.min()} images) without a training image; type'
      f' --config.label_fraction={_smallest_fraction(int(sizes.min()))} or'
      ' more.'
    )
  train, validation = [], []
  for label, size in zip(classes.tolist(), sizes.tolist(), strict=True):
    bits = np.random.Philox(np.random.SeedSequence([seed, label]))
    order = np.random.Generator(bits).permutation(size)
    labelled = np.flatnonzero(labels == label)[order[: _round(fraction, size)]]
    held_out = _is_validation(labelled.size, validation_fraction)
    train.append(labelled[~held_out])
    validation.append(labelled[held_out])
  return (
    np.sort(np.concatenate(train)).astype(np.int64),
    np.sort(np.concatenate(validation)).astype(np.int64),
  )


def hold_out(labels: dict[str, str]) -> set[str]:
  """Chooses a tenth of each class to test on; one of 2 to 19 images, none of 1.

  It is those whose names have the lowest SHA-256, of equal names those whose
  paths have: the same on every machine, and wherever the images lie.

  Args:
    labels: path of each image and its class, '' for unlabelled.

  Returns:
    Paths.
  """
  by_label = collections.defaultdict(list)
  for path, label in labels.items():
    by_label[label].append(path)
  held_out = set()
  for paths in by_label.values():
    paths.sort(key=lambda path: (_hash(os.path.basename(path)), _hash(path)))
    if len(paths) > 1:
      held_out.update(paths[: max(1, len(paths) // _HELD_OUT)])
  return held_out


def _hash(path: str) -> bytes:
  return hashlib.sha256(os.fsencode(path)).digest()


def _exact(value: float) -> fractions.Fraction:
  # The decimal that was typed: binary 0.1 is a little more than a tenth, which
  # a ceiling would turn into one image more.
  return fractions.Fraction(str(float(value))).limit_denominator(10**6)


def _round(fraction: float, size: int) -> int:
  """Images in `fraction` of `size`, halves rounded up."""
  return math.floor(_exact(fraction) * size + fractions.Fraction(1, 2))


def _smallest_fraction(size: int) -> float:
  """The least fraction of at most 6 decimals that gives one of `size`."""
  return math.ceil(10**6 / (2 * size)) / 10**6


def _is_validation(count: int, validation_fraction: float) -> np.ndarray:
  """Which places of a class's order are for validation: bool, [count].

  Place p >= 1 is, where ceil(p * fraction) exceeds ceil((p - 1) * fraction).
  Place 0 never is: every class keeps a training image.
  """
  share = _exact(validation_fraction)
  places = np.arange(-1, count, dtype=np.int64)
  ceilings = -(-places * share.numerator // share.denominator)
  held_out = np.diff(ceilings) > 0
  held_out[:1] = False
  return held_out

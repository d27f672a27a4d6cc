"""The order of the examples, and all that is drawn for them, from the seed."""

import functools

import numpy as np

# Independent streams of random numbers from one seed.
ORDER, AUGMENT = 0, 1


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
  sequence = np.random.SeedSequence([seed, stream, number])
  return np.random.Generator(np.random.Philox(sequence))


def stream(
  seed: int, size: int, block: int, positions: np.ndarray
) -> np.ndarray:
  """Which of `size` examples is at each position of the endless stream."""
  epochs, places = np.divmod(positions, size)
  out = np.empty_like(places)
  for epoch in np.unique(epochs).tolist():
    here = epochs == epoch
    out[here] = _order(seed, epoch, size, block)[places[here]]
  return out


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, size: int, block: int) -> np.ndarray:
  """All of `size` examples, blocks of neighbours shuffled: [size].

  Where the blocks begin is another in each epoch, so that the same examples do
  not always come together.
  """
  draw = generator(seed, ORDER, epoch)
  shift = draw.integers(block) if block > 1 else 0
  starts = draw.permutation(-(-(size + shift) // block)) * block - shift
  order = (starts[:, None] + np.arange(block)).reshape(-1)
  return order[(order >= 0) & (order < size)]

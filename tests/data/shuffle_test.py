"""The order is a function of (seed, epoch), in blocks or not."""

import numpy as np
import pytest

from selfie_jax.data import shuffle

SIZE = 1000


def _epoch(block, epoch=0, seed=3, size=SIZE):
  places = np.arange(epoch * size, (epoch + 1) * size)
  return shuffle.stream(seed, size, block, places)


def test_without_blocks_it_is_what_it_always_was():
  for epoch in range(3):
    sequence = np.random.SeedSequence([3, 0, epoch])
    draw = np.random.Generator(np.random.Philox(sequence))
    assert _epoch(1, epoch).tolist() == draw.permutation(SIZE).tolist()


@pytest.mark.parametrize('block', [2, 7, 64, 999, 1000, 5000])
def test_each_epoch_has_each_example_once_and_blocks_stay_whole(block):
  cuts = set()
  for epoch in range(4):
    order = _epoch(block, epoch)
    assert sorted(order) == list(range(SIZE))
    runs = np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)
    # Two that were neighbours may have come together again.
    assert len(runs) <= SIZE // block + 2
    assert all(len(run) % block == 0 for run in runs if 0 < run[0] < run[-1]
               < SIZE - 1)  # fmt: skip
    cuts |= {run[0] % block for run in runs if run[0] > 0}
  assert len(cuts) > 1 or block > 64


def test_a_place_is_known_without_those_before_it():
  places = np.array([5, 2500, 999, 1000])
  stream = np.concatenate([_epoch(16, epoch) for epoch in range(3)])
  assert shuffle.stream(3, SIZE, 16, places).tolist() == stream[places].tolist()
  assert (_epoch(16, seed=4) != _epoch(16)).any()

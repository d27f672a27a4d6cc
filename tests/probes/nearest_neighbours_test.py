"""Nearest neighbours, on data whose classes are known."""

import numpy as np
import pytest

from selfie_jax.probes import nearest_neighbours


def at(*degrees):
  """Vectors of these directions, of different lengths."""
  angles = np.radians(degrees)
  lengths = np.linspace(0.1, 10, len(degrees))
  return np.float32(np.stack([np.cos(angles), np.sin(angles)], 1).T * lengths).T


def test_the_direction_counts_and_not_the_length():
  bank = at(0, 2, 90, 92), np.array([0, 0, 1, 1])
  for labels, share in (([1, 0, 1], 1), ([1, 0, 0], 2 / 3)):
    queries = at(88, 3, 60), np.array(labels)
    found = nearest_neighbours.accuracy(bank, queries, 2, 0.07)
    assert found == pytest.approx(share)
  # All vote, if there are no more; and none overflows where it is cold.
  assert nearest_neighbours.accuracy(bank, (at(5), [0]), 99, 1e-6) == 1


def test_votes_are_those_of_the_formula():
  rng = np.random.default_rng(0)
  features, queries = rng.normal(size=(300, 8)), rng.normal(size=(50, 8))
  labels = rng.integers(0, 4, 300)
  unit = [
    x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, queries)
  ]
  cosine = unit[1] @ unit[0].T
  votes = np.zeros((50, 4))
  for i, row in enumerate(cosine):
    for j in np.argsort(-row)[:9]:
      votes[i, labels[j]] += np.exp(row[j] / 0.2)
  asked = np.float32(queries), votes.argmax(axis=1)
  bank = np.float32(features), labels
  assert nearest_neighbours.accuracy(bank, asked, 9, 0.2) == 1

"""Nearest neighbours, on data whose classes are known."""

import numpy as np
import pytest

from selfie_jax.probes import nearest_neighbours


def test_votes_are_those_of_the_formula():
  """By direction, whatever the length."""
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
  answers = votes.argmax(axis=1)
  bank, queries = (np.float32(features), labels), np.float32(queries)
  assert nearest_neighbours.accuracy(bank, (queries, answers), 9, 0.2) == 1
  answers[:10] = (answers[:10] + 1) % 4
  share = nearest_neighbours.accuracy(bank, (queries, answers), 9, 0.2)
  assert share == pytest.approx(0.8)
  # All vote, if there are no more; and none overflows where it is cold.
  few = np.eye(2, 8, dtype=np.float32), np.array([0, 1])
  assert nearest_neighbours.accuracy(few, few, 99, 1e-6) == 1

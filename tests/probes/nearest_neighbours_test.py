"""Nearest neighbours, on data whose classes are known."""

import numpy as np

from selfie_jax.probes import nearest_neighbours


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
  bank, asked = (np.float32(features), labels), np.float32(queries)
  classes = nearest_neighbours.classify(*bank, asked, 9, 0.2)
  np.testing.assert_array_equal(classes, votes.argmax(axis=1))
  given = asked, np.where(np.arange(50) < 20, classes, 9)
  assert nearest_neighbours.accuracy(bank, given, 9, 0.2) == 0.4


def test_all_vote_where_there_are_no_more_and_none_overflows():
  """The direction counts and not the length, however cold it is."""
  bank = np.float32([[0.1, 0], [9, 1], [0, 0.2]]), np.array([0, 0, 1])
  queries = np.float32([[5, 0.1], [0.1, 7]])
  classes = nearest_neighbours.classify(*bank, queries, 99, 1e-6)
  assert classes.tolist() == [0, 1]

"""Classification by the nearest neighbours among features with labels."""

import numpy as np
from sklearn import neighbors
from sklearn import preprocessing


def accuracy(
  bank: tuple[np.ndarray, np.ndarray],
  queries: tuple[np.ndarray, np.ndarray],
  count: int,
  temperature: float,
) -> float:
  """Share of the queries that `classify` gives their label.

  `bank` and `queries` are features float [n, dim] and labels int [n].
  """
  classes = classify(*bank, queries[0], count, temperature)
  return float((classes == queries[1]).mean())


def classify(
  features: np.ndarray,
  labels: np.ndarray,
  queries: np.ndarray,
  count: int,
  temperature: float,
) -> np.ndarray:
  """The labels that the neighbours of each query vote for.

  As in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
  Discrimination" (2018): the nearest `count` by cosine vote (all, if there are
  no more), each with the weight exp(cosine / temperature).

  Args:
    features: of the images that vote, float [n, dim].
    labels: theirs, int [n], not negative.
    queries: features of the images to classify, float [m, dim].

  Returns:
    int [m]; of labels with equal votes the lowest.
  """
  # The nearest unit vectors have the largest cosine: |a - b|^2 = 2 - 2 cos.
  index = neighbors.NearestNeighbors(
    n_neighbors=min(count, len(features)), algorithm='brute'
  ).fit(preprocessing.normalize(features))
  distances, nearest = index.kneighbors(preprocessing.normalize(queries))
  # Only the ratios of the votes matter; relative to the best, none overflows.
  below_best = (distances[:, :1] ** 2 - distances**2) / 2
  weights = np.exp(below_best / temperature)
  votes = np.zeros((len(queries), labels.max() + 1))
  rows = np.arange(len(queries))[:, None]
  np.add.at(votes, (rows, labels[nearest]), weights)
  return votes.argmax(axis=1)

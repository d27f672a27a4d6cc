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
  """Share of the queries that get their label by a vote of their neighbours.

  As in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
  Discrimination" (2018): the nearest `count` by cosine vote (all, if there are
  no more), each with the weight exp(cosine / temperature). Of labels with equal
  votes the lowest wins.

  Args:
    bank: of the images that vote, features float [n, dim] and labels int [n].
    queries: likewise of the images to classify.
  """
  # The nearest unit vectors have the largest cosine: |a - b|^2 = 2 - 2 cos.
  index = neighbors.NearestNeighbors(
    n_neighbors=min(count, len(bank[0])), algorithm='brute'
  ).fit(preprocessing.normalize(bank[0]))
  distances, nearest = index.kneighbors(preprocessing.normalize(queries[0]))
  # Only the ratios of the votes matter; relative to the best, none overflows.
  below_best = (distances[:, :1] ** 2 - distances**2) / 2
  votes = np.zeros((len(nearest), bank[1].max() + 1))
  rows = np.arange(len(nearest))[:, None]
  np.add.at(votes, (rows, bank[1][nearest]), np.exp(below_best / temperature))
  return float((votes.argmax(axis=1) == queries[1]).mean())

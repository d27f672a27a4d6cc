"""How embeddings lie to each other: nearest neighbours and a plane map."""

import numpy as np
from sklearn import decomposition
from sklearn import manifold
from sklearn import neighbors
from sklearn import preprocessing
import threadpoolctl
import tqdm

NEAREST = 8  # neighbours of each image
DIMENSIONS = 50  # that t-SNE starts from


def embed(model, images: np.ndarray, layer: str) -> np.ndarray:
  """Vectors [n, dim] of images of the run's size, with a progress bar."""
  size = model.batch_size
  batches = [images[i : i + size] for i in range(0, len(images), size)]
  bar = tqdm.tqdm(batches, unit='batch', dynamic_ncols=True, disable=None)
  return model.compute_batches(bar, (layer,))[layer]


def nearest(vectors: np.ndarray) -> np.ndarray:
  """Numbers of the others nearest to each vector, by cosine [n, k]."""
  index = neighbors.NearestNeighbors(
    n_neighbors=min(NEAREST, len(vectors) - 1), metric='cosine'
  ).fit(vectors)
  return index.kneighbors(return_distance=False)


def flatten(vectors: np.ndarray) -> np.ndarray:
  """t-SNE of the directions of vectors, always the same: [n, 2]."""
  directions = preprocessing.normalize(vectors)
  fewer = min(DIMENSIONS, *directions.shape)
  directions = decomposition.PCA(fewer, random_state=0).fit_transform(
    directions
  )
  perplexity = min(30, (len(vectors) - 1) / 3)
  tsne = manifold.TSNE(perplexity=perplexity, random_state=0)
  # Its steps are so short that several threads mostly wait for each other.
  with threadpoolctl.threadpool_limits(1):
    return tsne.fit_transform(directions)


def agreement(
  nearest: np.ndarray, labels: np.ndarray
) -> tuple[float, float] | None:
  """The share of neighbours of the same class, and what it is by chance.

  Args:
    nearest: numbers of the neighbours of each image [n, k].
    labels: classes [n], '' where not known: such images do not count.

  Returns:
    The two shares, or None where no image and a neighbour of it have a class.
  """
  known = labels != ''
  counted = known[:, None] & known[nearest]
  if not counted.any():
    return None
  same = labels[nearest] == labels[:, None]
  _, classes, counts = np.unique(
    labels[known], return_inverse=True, return_counts=True
  )
  chance = (counts[classes] - 1).mean() / (known.sum() - 1)
  return same[counted].mean(), chance

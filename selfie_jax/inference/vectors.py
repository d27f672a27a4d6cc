"""Vectors of images: files that hold them, their neighbours, and their map."""

import importlib.util
import os
import pathlib
import tempfile

import numpy as np
from sklearn import decomposition
from sklearn import manifold
from sklearn import neighbors
from sklearn import preprocessing
import threadpoolctl

from selfie_jax import errors
from selfie_jax.data.photos import files as files_lib

SUFFIXES = ('.npz', '.parquet')
NEAREST = 8  # neighbours of each image
DIMENSIONS = 50  # that t-SNE starts from

# By name: strings [n], or float32 [n, dim].
Columns = dict[str, list[str] | np.ndarray]


def check_path(path: str) -> None:
  """Raises UserError for a .parquet file without pyarrow."""
  if path.endswith('.parquet') and not importlib.util.find_spec('pyarrow'):
    raise errors.UserError(
      '.parquet needs pyarrow: type pip install pyarrow, or give --out=FILE.npz'
    )


def write(path: str, columns: Columns, layer: str) -> None:
  """Writes a .npz or .parquet file, which is whole or not there.

  The layer's name is an array without dimensions in a .npz file, and in the
  schema's metadata of a .parquet file.
  """
  file = pathlib.Path(path)
  columns = {
    name: list(map(files_lib.printable, values))
    if isinstance(values, list)
    else values
    for name, values in columns.items()
  }
  with tempfile.TemporaryDirectory(dir=file.parent) as folder:
    whole = os.path.join(folder, file.name)
    if path.endswith('.npz'):
      np.savez(whole, **columns, layer=layer)
    else:
      import pyarrow
      from pyarrow import parquet

      for name, values in columns.items():
        if isinstance(values, np.ndarray):
          columns[name] = pyarrow.FixedSizeListArray.from_arrays(
            values.reshape(-1), values.shape[1]
          )
      table = pyarrow.table(columns, metadata={'layer': layer})
      parquet.write_table(table, whole)
    os.replace(whole, path)


def nearest(vectors: np.ndarray) -> np.ndarray:
  """Indices of the others nearest to each vector, by cosine [n, k]."""
  index = neighbors.NearestNeighbors(
    n_neighbors=min(NEAREST, len(vectors) - 1), metric='cosine'
  ).fit(vectors)
  return index.kneighbors(return_distance=False)


def flatten(vectors: np.ndarray) -> np.ndarray:
  """t-SNE of the directions of vectors [n, dim], repeatable: [n, 2]."""
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
  """The share of neighbours of the same class, and the share by chance.

  `nearest` are the neighbours of each image [n, k], `labels` the classes [n],
  '' where unknown: such images do not count. None if there are no others.
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

"""Draws what a trained run has learned, as PNG files.

python -m selfie_jax.visualize --checkpoint=runs/cifar_pretrain
"""

import argparse
from concurrent import futures
import dataclasses
import functools
import os
import pathlib
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before TensorFlow loads

from absl import logging as absl_logging
from matplotlib import figure as mpl_figure
import numpy as np
import tqdm

from selfie_jax import embed
from selfie_jax import embedding_figures
from selfie_jax import errors
from selfie_jax import visualize
from selfie_jax import workdir as workdir_lib

LIMIT = 2000  # so many images are embedded
NEAREST = 8  # neighbours of each image
FEWEST = 3  # images in a map
MOST = 24  # rows of a picture
DIMENSIONS = 50  # that t-SNE starts from
DPI = 200


@dataclasses.dataclass(frozen=True)
class Pool:
  """Images to draw, of the run's size.

  Attributes:
    images: uint8 [n, s, s, 3].
    labels: their classes [n], '' where not known.
    index: int32 [n], by which the masks of the puzzles are drawn.
    skipped: files that cannot be read.
  """

  images: np.ndarray
  labels: list[str]
  index: np.ndarray
  skipped: list[str] = dataclasses.field(default_factory=list)


def main() -> None:
  parser = argparse.ArgumentParser(
    prog='python -m selfie_jax.visualize', description=__doc__.splitlines()[0]
  )
  add = parser.add_argument
  add('--checkpoint', required=True, metavar='RUN', help="a run's folder")
  add(
    '--images',
    metavar='DIR',
    help="folder of images, at any depth (default: the run's test images)",
  )
  add('--out', metavar='DIR', help='default: RUN/figures')
  add('--count', type=int, default=6, help=f'images shown, 1 to {MOST}')
  add('--layer', help='block3 (default), attention or block4')
  args = parser.parse_args()
  absl_logging.set_verbosity(absl_logging.FATAL)
  with errors.one_line():
    draw_run(**vars(args))


def draw_run(
  checkpoint: str,
  images: str | None = None,
  out: str | None = None,
  count: int = 6,
  layer: str | None = None,
) -> None:
  """Writes the pictures of a run and prints where they are.

  Args:
    checkpoint: the run's folder.
    images: a folder of images; None for the run's test images.
    out: where to write; None for RUN/figures.
    count: how many images are shown.
    layer: of the embeddings, see inference.Model.embed.

  Raises:
    UserError: an argument is not valid, no image can be read or `out` cannot be
      written.
  """
  if not 1 <= count <= MOST:
    raise errors.UserError(
      f'count={count} is not valid; it must be in 1 to {MOST}: --count=6'
    )
  # JAX and TensorFlow take seconds to load.
  from selfie_jax import inference

  model = inference.load(checkpoint)
  layer = model.check_layer(layer)
  folder = workdir_lib.run_path(out or os.path.join(checkpoint, 'figures'))
  pool = read_folder(images, model.config) if images else read_test(model)
  figures, missing = draw(model, pool, count, layer)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for name, fig in figures.items():
      path = folder / f'{name}.png'
      with path.open('wb') as file:
        fig.savefig(file, format='png', dpi=DPI)
      print(path)
  except OSError as error:
    raise errors.UserError(
      f'{folder} cannot be written ({error}); give another folder: --out=DIR'
    ) from error
  for name, reason in missing.items():
    print(f'no {name}.png: {reason}')
  if pool.skipped:
    named = ', '.join(pool.skipped[: embed.NAMED])
    more = ' ...' if pool.skipped[embed.NAMED :] else ''
    print(f'{len(pool.skipped)} files cannot be read: {named}{more}')


def draw(
  model, pool: Pool, count: int, layer: str
) -> tuple[dict[str, mpl_figure.Figure], dict[str, str]]:
  """Draws all that can be: figures by name, and why others are missing."""
  from selfie_jax import attention_weights

  figures, missing = {}, {}
  shown = choose(pool.labels, count)
  images = pool.images[shown]
  if model.config.mode == 'pretrain':
    targets, answers = solve(model, images, pool.index[shown])
    figures['patches'] = visualize.patch_puzzle(
      images, targets, answers, model.config.patch_size
    )
  else:
    missing['patches'] = 'the puzzle is for pretraining runs'
  if attention_weights.has_attention(model):
    weights = attention_weights.last_layer(model, images)
    figures['attention'] = visualize.attention(images, weights)
  else:
    missing['attention'] = f'{model.config.model.name} has no attention pooling'
  if len(pool.labels) >= FEWEST:
    vectors = embed_all(model, pool.images, layer)
    figures['neighbours'] = embedding_figures.neighbours(
      pool.images, shown, nearest(vectors), pool.labels
    )
    title = f't-SNE of the embeddings ({layer}) of {len(vectors):,} images'
    figures['map'] = embedding_figures.plane(
      flatten(vectors), pool.labels, title
    )
  else:
    reason = f'{FEWEST} images are needed, there are {len(pool.labels)}'
    missing |= dict.fromkeys(('neighbours', 'map'), reason)
  params = model.variables['params']
  stem = params.get('patch_network', params)['stem']
  figures['filters'] = visualize.filters(np.asarray(stem['conv']['kernel']))
  return figures, missing


def choose(labels: list[str], count: int) -> np.ndarray:
  """Positions of `count` images, in turn of every class."""
  turn, seen = [], {}
  for label in labels:
    turn.append(seen.get(label, 0))
    seen[label] = turn[-1] + 1
  return np.argsort(turn, kind='stable')[:count]


def solve(
  model, images: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The puzzles of images: their holes, and the targets put there [n, m]."""
  import jax

  from selfie_jax import pretrain
  from selfie_jax import task

  state = task.TrainState(
    step=0,
    apply_fn=pretrain.build_model(model.config).apply,
    params=model.variables['params'],
    batch_stats=model.variables['batch_stats'],
    tx=None,
    opt_state=None,
  )
  logits, _, targets = jax.jit(
    functools.partial(pretrain.solve, config=model.config)
  )(state, {'image': images, 'index': index})
  return np.asarray(targets), np.asarray(logits.argmax(axis=-1))


def embed_all(model, images: np.ndarray, layer: str) -> np.ndarray:
  """Vectors [n, dim] of images of the run's size, with a progress bar."""
  size = model.batch_size
  parts = [images[i : i + size] for i in range(0, len(images), size)]
  bar = tqdm.tqdm(
    parts, unit='batch', dynamic_ncols=True, disable=not sys.stderr.isatty()
  )
  return np.concatenate(
    [model.compute_batch(part, (layer,))[layer] for part in bar]
  )


def nearest(vectors: np.ndarray) -> np.ndarray:
  """Numbers of the others nearest to each vector, by cosine [n, k]."""
  from sklearn import neighbors

  index = neighbors.NearestNeighbors(
    n_neighbors=min(NEAREST, len(vectors) - 1), metric='cosine'
  ).fit(vectors)
  return index.kneighbors(return_distance=False)


def flatten(vectors: np.ndarray) -> np.ndarray:
  """t-SNE of the directions of vectors, always the same: [n, 2]."""
  from sklearn import decomposition
  from sklearn import manifold
  from sklearn import preprocessing

  directions = preprocessing.normalize(vectors)
  fewer = min(DIMENSIONS, *directions.shape)
  directions = decomposition.PCA(fewer, random_state=0).fit_transform(
    directions
  )
  perplexity = min(30, (len(vectors) - 1) / 3)
  return manifold.TSNE(perplexity=perplexity, random_state=0).fit_transform(
    directions
  )


def read_test(model) -> Pool:
  """Up to LIMIT test images of the run's own data set, drawn at random.

  Raises:
    UserError: they cannot be had.
  """
  from selfie_jax import input_pipeline

  config = model.config
  try:
    source = input_pipeline.open_source(config, config.dataset.test_split)
    index = _sample(source.size)
    images = np.concatenate(list(source.eval_images([index])))
    labels = source.labels[index]
  except errors.UserError as mistake:
    raise errors.UserError(
      f"the run's own test images cannot be had ({mistake}); show it others: "
      '--images=DIR'
    ) from mistake
  names = source.class_names
  return Pool(
    images,
    [names[label] if label >= 0 else '' for label in labels],
    index.astype(np.int32),
  )


def read_folder(folder: str, config) -> Pool:
  """Up to LIMIT images of a folder, drawn at random; see embed.folder_labels.

  Raises:
    UserError: there is no such folder, or no image in it that can be read.
  """
  from selfie_jax import images as images_lib

  files = images_lib.find(folder)
  labels = embed.folder_labels(files)
  chosen = [files[i] for i in _sample(len(files))]

  def read(file: str) -> np.ndarray | None:
    try:
      return images_lib.read(pathlib.Path(folder, file), config)
    except errors.UserError:
      return None

  with futures.ThreadPoolExecutor(os.cpu_count(), 'decode') as threads:
    decoded = dict(zip(chosen, threads.map(read, chosen), strict=True))
  readable = {k: v for k, v in decoded.items() if v is not None}
  if not readable:
    raise errors.UserError(
      f'not one of the {len(chosen)} image files in {folder} can be read'
    )
  return Pool(
    np.stack(list(readable.values())),
    [labels.get(file, '') for file in readable],
    np.arange(len(readable), dtype=np.int32),
    [file for file in chosen if file not in readable],
  )


def _sample(total: int) -> np.ndarray:
  return np.random.default_rng(0).permutation(total)[:LIMIT]

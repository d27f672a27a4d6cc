"""Draws what a trained run has learned, as PNG files.

python -m selfie_jax.visualize --checkpoint=runs/cifar_pretrain
"""

import functools
import math
import os

import jax
from matplotlib import figure as mpl_figure
import numpy as np
import tqdm

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax import figures as figures_lib
from selfie_jax.inference import figures as embedding_figures
from selfie_jax.inference import model as model_lib
from selfie_jax.inference import samples
from selfie_jax.inference import vectors as vectors_lib
from selfie_jax.models import build
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state

FEWEST = 3  # images in a map
MOST = 24  # rows of a picture
DPI = 200


def main() -> None:
  parser = command_line.Parser('visualize', __doc__)
  images = "folder of images, at any depth (default: the run's test images)"
  parser.add_path('--checkpoint', 'RUN', "a run's folder")
  parser.add_path('--images', 'DIR', images, required=False)
  parser.add_path('--out', 'DIR', 'default: RUN/figures', required=False)
  add = parser.add_argument
  add('--count', type=int, default=6, help=f'images shown, 1 to {MOST}')
  add(
    '--layer',
    help='quadrants (default of pretraining runs), patches, block3 (default of '
    'finetuned ones), attention or block4',
  )
  command_line.silence_libraries()
  with command_line.exit_cleanly('stopped'):
    args = parser.parse_args()
    command_line.start_jax()
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
    images: a folder; None for the run's test images.
    out: where to write; None for RUN/figures.
    count: how many images are shown.
    layer: see model_lib.Model.embed.

  Raises:
    UserError: an argument is not valid, no image can be read or `out` cannot be
      written.
  """
  if not 1 <= count <= MOST:
    errors.invalid(f'count={count}', f'in 1 to {MOST}: --count=6')
  model = model_lib.load(checkpoint)
  layer = model.check_layer(layer)
  folder = workdir_lib.run_path(out or os.path.join(checkpoint, 'figures'))
  if images:
    shown = samples.read_folder(images, model.config)
  else:
    shown = samples.read_test(model.config, checkpoint)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    figures, missing = draw(model, shown, count, layer)
    for name, fig in figures.items():
      path = folder / f'{name}.png'
      with path.open('wb') as file:
        fig.savefig(file, format='png', dpi=DPI, bbox_inches='tight')
      print(path)
  except OSError as error:
    raise errors.UserError(
      f'{folder} cannot be written ({error}); give another folder: --out=DIR'
    ) from error
  for name, reason in missing.items():
    print(f'no {name}.png: {reason}')
  if shown.skipped:
    print(samples.describe(shown.skipped))


def draw(
  model: model_lib.Model, pool: samples.Samples, count: int, layer: str
) -> tuple[dict[str, mpl_figure.Figure], dict[str, str]]:
  """Draws all pictures that can be drawn.

  Neighbours and map are of all images of `pool`; `count` of them are shown.

  Returns:
    Figures by name, and by the names of the missing ones the reasons.
  """
  figures, missing = {}, {}
  shown = samples.choose(pool.labels, count)
  images = pool.images[shown]
  if model.config.mode == 'pretrain':
    chosen = predict(model, images, pool.index[shown])
    columns = min(3, math.ceil(len(images) ** 0.5))
    figures['patches'] = figures_lib.patch_puzzle(
      images, *chosen, model.config.patch_size, columns
    )
  else:
    missing['patches'] = 'only pretraining runs solve puzzles'
    best = model.predict(images).argmax(axis=-1)
    labels = [pool.labels[i] for i in shown]
    labels = [x if x in model.class_names else '' for x in labels]
    names = [model.class_names[i] for i in best]
    figures['predictions'] = embedding_figures.predictions(
      images, labels, names
    )
  if 'attention' in model.layers:
    weights = model.attention_weights(images)
    figures['attention'] = figures_lib.attention(images, weights)
  else:
    missing['attention'] = f'{model.config.model.name} has no attention pooling'
  if len(pool.images) >= FEWEST:
    size = model.batch_size
    starts = tqdm.trange(
      0, len(pool.images), size, unit='batch', dynamic_ncols=True, disable=None
    )
    batches = (pool.images[i : i + size] for i in starts)
    rows = [model.compute_batch(batch, [layer])[layer] for batch in batches]
    vectors = np.concatenate(rows)
    nearest = vectors_lib.nearest(vectors)
    figures['neighbours'] = embedding_figures.neighbours(
      pool.images, shown, nearest, pool.labels
    )
    points = vectors_lib.flatten(vectors)
    title = f't-SNE of the embeddings ({layer}) of {len(points):,} images'
    figures['map'] = embedding_figures.plane(
      pool.images, points, pool.labels, title
    )
  else:
    reason = f'{FEWEST} images are needed, and there are {len(pool.images)}'
    missing |= dict.fromkeys(('neighbours', 'map'), reason)
  params = model.variables['params']
  stem = params.get('patch_network', params)['stem']
  figures['filters'] = figures_lib.filters(np.asarray(stem['conv']['kernel']))
  return figures, missing


def predict(
  model: model_lib.Model, images: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The masked positions of images, and the targets chosen for them [n, m]."""
  apply = build.selfie(model.config).apply
  state = train_state.TrainState(
    step=0, apply_fn=apply, tx=None, opt_state=None, **model.variables
  )
  score = jax.jit(functools.partial(pretrain.predict, config=model.config))
  with model_lib.in_float32():
    logits, _, targets = score(state, {'image': images, 'index': index})
  return np.asarray(targets), np.asarray(logits.argmax(axis=-1))


if __name__ == '__main__':
  main()

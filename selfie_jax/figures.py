"""Pictures from arrays: solved puzzles, curves, attention, filters."""

from collections.abc import Sequence
import math
from typing import Any

from matplotlib import colors
from matplotlib import figure as mpl_figure
from matplotlib import patches as mpl_patches
from matplotlib.backends import backend_agg
import numpy as np

RIGHT, WRONG = '#1a9641', '#d7191c'
MASKED = (158, 188, 218)  # no grey: a digit may have it
SPLITS = {'train': '#9ecae1', 'validation': '#08519c', 'test': '#d95f02'}
CHANCE = '#888888'
KNN = '#54278f'
LESS, MORE = '#2166ac', '#d6202a'
ATTENTION = colors.LinearSegmentedColormap.from_list(
  'attention',
  [(0, LESS + 'd0'), (0.5, LESS + '00'), (0.5, MORE + '00'), (1, MORE + 'd0')],
)
HEADS = 8  # most of A's heads that are drawn
TILE = 1.0  # inches of a small image


def patch_puzzle(
  images: np.ndarray,
  targets: np.ndarray,
  predictions: np.ndarray,
  patch_size: int,
  columns: int = 3,
) -> mpl_figure.Figure:
  """Images with masked patches, beside the patches that the model chose.

  A patch at its own position has a green frame, any other a red one.

  Args:
    images: uint8 [n, h, w, 3].
    targets: masked positions of each image, numbers of patches [n, targets].
    predictions: the target chosen for each of these positions [n, targets].
    patch_size: side of a patch in pixels.
    columns: image pairs in a row.
  """
  images, targets, predictions = map(np.asarray, (images, targets, predictions))
  grid = images.shape[1] // patch_size
  rows = -(-len(images) // columns)
  fig = figure(3.4 * columns, 1.75 * rows + 0.5)
  for number, image in enumerate(images):
    left, right = (
      fig.add_subplot(rows, 2 * columns, 2 * number + side) for side in (1, 2)
    )
    masked, filled = image.copy(), image.copy()
    # [targets, 2]: the upper left corner of each masked patch
    corners = patch_size * np.stack(divmod(targets[number], grid), axis=1)
    places = [np.s_[y : y + patch_size, x : x + patch_size] for y, x in corners]
    for i, (y, x) in enumerate(corners):
      chosen = predictions[number, i]
      masked[places[i]] = MASKED
      filled[places[i]] = image[places[chosen]]
      frame = mpl_patches.Rectangle(
        (x - 0.5, y - 0.5), patch_size, patch_size, fill=False, linewidth=1.6
      )
      frame.set_edgecolor(RIGHT if chosen == i else WRONG)
      right.add_patch(frame)
    for axis, shown in ((left, masked), (right, filled)):
      axis.imshow(shown)
      axis.set_axis_off()
  hits = (predictions == np.arange(predictions.shape[1])).sum()
  fig.suptitle(
    f'Left: {targets.shape[1]} patches masked. Right: the choices of the '
    f'network, {hits} of {predictions.size} right (green);\n'
    'a patch may be chosen for two positions',
    fontsize=10,
  )
  return fig


def curves(history: Sequence[dict[str, Any]]) -> mpl_figure.Figure:
  """Loss and accuracy against steps; chance where the metrics have it.

  A row has 'step', 'part' ('train', 'validation' or 'test'), 'loss',
  '...accuracy' and perhaps 'chance'; rows with 'knn' as 'part' and
  'knn_accuracy' are a third curve.
  """
  knn = [row for row in history if row['part'] == 'knn']
  history = [row for row in history if row['part'] in SPLITS]
  accuracy = next(name for name in history[0] if name.endswith('accuracy'))
  fig = figure(11.5 if knn else 8, 3.2)
  axes = fig.subplots(1, 3 if knn else 2)
  for split, colour in SPLITS.items():
    if rows := [row for row in history if row['part'] == split]:
      _curve(axes[0], rows, 'loss', colour, split)
      _curve(axes[1], rows, accuracy, colour, split)
  if knn:
    _curve(axes[2], knn, 'knn_accuracy', KNN, 'knn')
    axes[2].set_title('accuracy of nearest neighbours', fontsize=10)
  if 'chance' in history[0]:
    chance = history[0]['chance']
    axes[0].axhline(-np.log(chance), color=CHANCE, linestyle=':')
    axes[1].axhline(chance, color=CHANCE, linestyle=':', label='chance')
  axes[1].legend(frameon=False, fontsize=9)
  return fig


def accuracies(
  histories: dict[str, Sequence[dict[str, Any]]],
) -> mpl_figure.Figure:
  """Accuracies of finetunings (rows as for `curves`, by run) against steps."""
  fig = figure(6, 3.6)
  axis = fig.subplots()
  for i, (name, history) in enumerate(histories.items()):
    split = next(r['part'] for r in history if r['part'] != 'train')
    rows = [row for row in history if row['part'] == split]
    _curve(axis, rows, 'accuracy', f'C{i}', f'{name}, {split}')
  axis.set_ylim(bottom=0)
  axis.legend(frameon=False, fontsize=9)
  return fig


def _curve(axis, rows, name: str, colour: str, split: str) -> None:
  x, y = zip(*((row['step'], row[name]) for row in rows), strict=True)
  marker = None if split == 'train' else 'o'
  style = {'linewidth': 1.6, 'marker': marker, 'markersize': 3}
  axis.plot(x, y, color=colour, label=split, **style)
  label(axis, name.replace('_', ' '), 'step')


def attention(images: np.ndarray, weights: np.ndarray) -> mpl_figure.Figure:
  """Images [n, s, s, 3], each beside the attention of u0 to its positions.

  Of the mean over the heads and of every head; of more than HEADS those with
  the least entropy, which attend to the fewest positions. The colour is that of
  log2((1 + positions) * weight): an even share, 0, has no colour, more is red,
  less is blue. See features.attention_weights [n, heads, 1 + positions].
  """
  count, heads, keys = weights.shape
  entropy = -(weights * np.log(weights + 1e-12)).sum(axis=-1).mean(axis=0)
  chosen = np.sort(np.argsort(entropy, kind='stable')[:HEADS])
  weights = np.concatenate(
    [weights.mean(axis=1, keepdims=True), weights[:, chosen]], axis=1
  )
  grid = round((keys - 1) ** 0.5)
  heat = np.log2(keys * weights[..., 1:] + 1e-12)
  heat = heat.reshape(count, -1, grid, grid)
  limit = np.clip(heat.max(), 0.5, 4)
  names = ['image', f'mean of {heads}', *(f'head {i + 1}' for i in chosen)]

  fig = figure(TILE * (len(names) + 0.8), TILE * count + 0.4, 'compressed')
  axes = fig.subplots(count, len(names), squeeze=False)
  end = images.shape[1] - 0.5
  for row, image, maps in zip(axes, images, heat, strict=True):
    row[0].imshow(image)
    for axis, values in zip(row[1:], maps, strict=True):
      axis.imshow(image.mean(axis=-1), cmap='gray', vmin=0, vmax=255)
      place = {'extent': (-0.5, end, end, -0.5), 'interpolation': 'nearest'}
      drawn = axis.imshow(
        values, cmap=ATTENTION, vmin=-limit, vmax=limit, **place
      )
  for axis in axes.flat:
    axis.set_axis_off()
  for axis, name in zip(axes[0], names, strict=True):
    axis.set_title(name, fontsize=8)
  ticks = limit * np.linspace(-1, 1, 5)
  bar = fig.colorbar(
    drawn, ax=axes, ticks=ticks, extend='both', aspect=30, pad=0.015
  )
  bar.ax.set_yticklabels([f'{2**tick:.2g}' for tick in ticks], fontsize=8)
  bar.set_label('attention (times an even share)', fontsize=8)
  return fig


def filters(kernel: np.ndarray) -> mpl_figure.Figure:
  """The filters of the first layer [k, k, 3, features], side by side.

  Each filter's weights are scaled by its largest one, and grey is 0.
  """
  k, features = kernel.shape[0], kernel.shape[-1]
  columns = min(features, max(8, math.ceil(features**0.5)))
  rows = -(-features // columns)
  fig = figure(0.5 * columns + 0.2, 0.5 * rows + 0.5, 'compressed')
  colours = 0.5 + kernel / (2 * np.abs(kernel).max(axis=(0, 1, 2)) + 1e-12)
  for i in range(features):
    axis = fig.add_subplot(rows, columns, i + 1)
    axis.imshow(colours[..., i], interpolation='nearest')
    axis.set_axis_off()
  title = f'{features} filters of {k}x{k} pixels'
  fig.suptitle(title, fontsize=10 if columns > 4 else 7)
  return fig


def pixels(fig: mpl_figure.Figure) -> np.ndarray:
  """The figure as uint8 [h, w, 3], for TensorBoard."""
  canvas = backend_agg.FigureCanvasAgg(fig)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figure(
  width: float, height: float, layout: str = 'constrained'
) -> mpl_figure.Figure:
  """A figure (inches) without pyplot: no window, no global state."""
  return mpl_figure.Figure((width, height), dpi=150, layout=layout)


def label(axis, title: str, below: str = '') -> None:
  """Names what a chart shows; it has no frame at the top and the right."""
  axis.set_title(title, fontsize=10)
  axis.set_xlabel(below)
  axis.spines[['top', 'right']].set_visible(False)

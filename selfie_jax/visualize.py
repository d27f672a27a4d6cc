"""Pictures: the solved patch puzzle and the curves of a run."""

from collections.abc import Sequence
from typing import Any

from matplotlib import figure as mpl_figure
from matplotlib import patches as mpl_patches
from matplotlib.backends import backend_agg
import numpy as np

RIGHT, WRONG = '#1a9641', '#d7191c'
HOLE = (158, 188, 218)  # no grey: a digit may have it
PARTS = {'train': '#9ecae1', 'validation': '#08519c', 'test': '#d95f02'}
CHANCE = '#888888'


def patch_puzzle(
  images: np.ndarray,
  targets: np.ndarray,
  answers: np.ndarray,
  patch_size: int,
  columns: int = 3,
) -> mpl_figure.Figure:
  """Images with their holes, beside the patches that the model put in them.

  Args:
    images: uint8 [n, h, w, 3].
    targets: the masked places of each image [n, targets], patch numbers.
    answers: which target was put into each of these places [n, targets].
    patch_size: side of a patch in pixels.
    columns: image pairs in a row.

  Returns:
    A figure; a patch in its right place has a green frame, any other a red
    one.
  """
  images, targets, answers = map(np.asarray, (images, targets, answers))
  grid = images.shape[1] // patch_size
  rows = -(-len(images) // columns)
  fig = _figure(3.4 * columns, 1.75 * rows + 0.5)
  axes = fig.subplots(rows, 2 * columns, squeeze=False)
  for axis in axes.flat:
    axis.set_axis_off()

  def window(place):
    y, x = divmod(int(place), grid)
    return slice(y * patch_size, (y + 1) * patch_size), slice(
      x * patch_size, (x + 1) * patch_size
    )

  for i, (image, places, chosen) in enumerate(
    zip(images, targets, answers, strict=True)
  ):
    row, column = divmod(i, columns)
    holes, solved = axes[row, 2 * column], axes[row, 2 * column + 1]
    left, filled = image.copy(), image.copy()
    for hole, (place, answer) in enumerate(zip(places, chosen, strict=True)):
      left[window(place)] = HOLE
      filled[window(place)] = image[window(places[answer])]
      y, x = window(place)
      solved.add_patch(
        mpl_patches.Rectangle(
          (x.start - 0.5, y.start - 0.5),
          patch_size,
          patch_size,
          fill=False,
          linewidth=1.6,
          edgecolor=RIGHT if answer == hole else WRONG,
        )
      )
    holes.imshow(left)
    solved.imshow(filled)
  right = (answers == np.arange(answers.shape[1])).sum()
  fig.suptitle(
    f'Left: the image with holes. Right: the patches chosen for them, '
    f'{right} of {answers.size} right (green)',
    fontsize=10,
  )
  return fig


def curves(history: Sequence[dict[str, Any]]) -> mpl_figure.Figure:
  """Loss and accuracy against steps; chance where the metrics have it.

  Args:
    history: rows {'step': s, 'part': 'train' | 'validation' | 'test',
      'loss': ..., '...accuracy': ..., 'chance': ...}.
  """
  fig = _figure(8, 3.2)
  axes = fig.subplots(1, 2)
  accuracy = next(k for k in history[0] if k.endswith('accuracy'))
  parts = sorted({row['part'] for row in history}, key=lambda p: p != 'train')
  for axis, name in zip(axes, ('loss', accuracy), strict=True):
    for part in parts:
      rows = [row for row in history if row['part'] == part]
      held_out = part != 'train'
      axis.plot(
        [row['step'] for row in rows],
        [row[name] for row in rows],
        color=PARTS[part],
        label=part,
        linewidth=1.6,
        marker='o' if held_out else None,
        markersize=3,
      )
    axis.set_xlabel('step')
    axis.set_title(name.replace('_', ' '), fontsize=10)
    axis.spines[['top', 'right']].set_visible(False)
  if 'chance' in history[0]:
    chance = history[0]['chance']
    axes[0].axhline(-np.log(chance), color=CHANCE, linestyle=':')
    axes[1].axhline(chance, color=CHANCE, linestyle=':', label='chance')
  axes[1].legend(frameon=False, fontsize=9)
  return fig


def pixels(fig: mpl_figure.Figure) -> np.ndarray:
  """The figure as uint8 [h, w, 3], for TensorBoard."""
  canvas = backend_agg.FigureCanvasAgg(fig)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure(width: float, height: float) -> mpl_figure.Figure:
  """A figure (inches) without pyplot: no window, no global state."""
  return mpl_figure.Figure((width, height), dpi=150, layout='constrained')

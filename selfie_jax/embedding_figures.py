"""Pictures of a space of embeddings: nearest neighbours, and a map."""

import collections
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib import figure as mpl_figure
from matplotlib import lines
import numpy as np

from selfie_jax import visualize

NEUTRAL = '#bdbdbd'  # of images whose class is not known, or not in the legend
CLASSES = 20  # so many classes have a colour each ...
FREQUENT = 10  # ... and of more, this many
LETTERS = 14  # longer names are cut


def neighbours(
  images: np.ndarray,
  shown: np.ndarray,
  nearest: np.ndarray,
  labels: Sequence[str],
) -> mpl_figure.Figure:
  """Some images, each with the images nearest to it.

  Args:
    images: uint8 [n, h, w, 3].
    shown: numbers of the images to show [q].
    nearest: numbers of the images nearest to each image, the nearest first
      [n, k].
    labels: the class of each image [n], '' where it is not known.

  Returns:
    A figure; where both classes are known, a neighbour of the image's class
    has a green frame, any other a red one. Its title has the share of such
    neighbours, of all images.
  """
  k = nearest.shape[1]
  size = visualize.TILE
  height = size + 0.2 if any(labels) else size
  fig = visualize.figure(size * (k + 1.2), height * len(shown) + 0.5)
  # The narrow column stands between the image and its neighbours.
  grid = fig.add_gridspec(len(shown), k + 2, width_ratios=[1, 0.2] + [1] * k)
  for row, query in enumerate(shown):
    _show(fig.add_subplot(grid[row, 0]), images[query], labels[query], None)
    for column, i in enumerate(nearest[query], start=2):
      colour = None
      if labels[query] and labels[i]:
        same = labels[query] == labels[i]
        colour = visualize.RIGHT if same else visualize.WRONG
      axis = fig.add_subplot(grid[row, column])
      _show(axis, images[i], labels[i], colour)
  title = f'Left: the image. Right: the {k} nearest to it'
  if any(labels):
    right, chance = agreement(nearest, np.asarray(labels))
    title += (
      ', green if of its class\n'
      f'Of the neighbours of all {len(images):,} images {right:.1%} are of the '
      f"image's class (chance {chance:.1%})"
    )
  fig.suptitle(title, fontsize=10)
  return fig


def agreement(nearest: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
  """The share of neighbours of the same class, and what it is by chance.

  Args:
    nearest: numbers of the neighbours of each image [n, k].
    labels: classes [n], '' where not known: such pairs do not count.
  """
  known = labels != ''
  counted = known[:, None] & known[nearest]
  same = labels[nearest] == labels[:, None]
  _, inverse, counts = np.unique(
    labels[known], return_inverse=True, return_counts=True
  )
  chance = (counts[inverse] - 1).mean() / (known.sum() - 1)
  return (same & counted).sum() / counted.sum(), chance


def plane(
  points: np.ndarray, labels: Sequence[str], title: str
) -> mpl_figure.Figure:
  """A map of images, coloured by class.

  Args:
    points: [n, 2].
    labels: the class of each image [n], '' where it is not known.
    title: of the figure.

  Returns:
    A figure with a legend of the classes, by frequency if there are more than
    CLASSES: then the FREQUENT ones have colours, and the others are grey.
  """
  labels = np.asarray(labels)
  counts = collections.Counter(label for label in labels.tolist() if label)
  names = sorted(counts)
  if len(names) > CLASSES:
    names = [name for name, _ in counts.most_common(FREQUENT)]
  colours = colormaps['tab10' if len(names) <= 10 else 'tab20'].colors
  fig = visualize.figure(6.4 if names else 5, 5)
  axis = fig.subplots()
  size = float(np.clip(6000 / len(points), 6, 40))
  handles = []

  def draw(chosen, colour, name):
    axis.scatter(*points[chosen].T, s=size, color=colour, linewidths=0)
    handles.append(
      lines.Line2D([], [], marker='o', linestyle='', color=colour, label=name)
    )

  others = ~np.isin(labels, names)
  if others.any():
    missing = len(counts) - len(names)
    name = f'{missing} other classes' if missing else 'no class known'
    draw(others, NEUTRAL, name)
  for name, colour in zip(names, colours, strict=False):
    draw(labels == name, colour, short(name))
  if names:
    handles.append(handles.pop(0)) if others.any() else None
    legend = fig.legend(
      handles=handles,
      loc='outside right center',
      frameon=False,
      fontsize=9,
    )
    for text in legend.get_texts():
      text.set_parse_math(False)
  axis.set_xticks([])
  axis.set_yticks([])
  axis.set_aspect('equal', 'datalim')
  axis.set_title(title, fontsize=10)
  return fig


def short(name: str) -> str:
  """A name of at most LETTERS letters."""
  return name if len(name) <= LETTERS else name[: LETTERS - 1] + '…'


def _show(axis, image, label, colour) -> None:
  axis.imshow(image)
  axis.set_xticks([])
  axis.set_yticks([])
  axis.set_xlabel(short(label), fontsize=7, labelpad=2, parse_math=False)
  axis.spines[:].set_visible(colour is not None)
  if colour:
    axis.spines[:].set(color=colour, linewidth=2)

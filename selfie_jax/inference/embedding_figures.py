"""Pictures of a space of embeddings: nearest neighbours, and a map."""

import collections
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib import figure as mpl_figure
from matplotlib import lines
from matplotlib import patches as mpl_patches
import numpy as np

from selfie_jax import figures as figures_lib
from selfie_jax.inference import embedding_space

NEUTRAL = '#d0d0d0'  # of images whose class has no colour of its own
COLOURS = [
  *(c for c in colormaps['tab10'].colors if len(set(c)) > 1),  # no grey
  (0.1, 0.1, 0.1),
  *(c for c in colormaps['tab20'].colors[1::2] if len(set(c)) > 1),
]
FREQUENT = 10  # of more classes than COLOURS, so many get one
ACROSS = 20  # so many thumbnails fit across a map


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
  size = figures_lib.TILE
  height = size + 0.2 if any(labels) else size
  fig = figures_lib.figure(size * (k + 1.2), height * len(shown) + 0.5)
  # The narrow column stands between the image and its neighbours.
  grid = fig.add_gridspec(len(shown), k + 2, width_ratios=[1, 0.2] + [1] * k)
  for row, query in enumerate(shown):
    _show(fig.add_subplot(grid[row, 0]), images[query], labels[query], None)
    for column, i in enumerate(nearest[query], start=2):
      colour = None
      if labels[query] and labels[i]:
        same = labels[query] == labels[i]
        colour = figures_lib.RIGHT if same else figures_lib.WRONG
      axis = fig.add_subplot(grid[row, column])
      _show(axis, images[i], labels[i], colour)
  title = f'Left: the image. Right: the {k} nearest to it'
  shares = embedding_space.agreement(nearest, np.asarray(labels))
  if shares:
    title += (
      ', green if of its class\n'
      f'Of the neighbours of all {len(images):,} images {shares[0]:.1%} are of '
      f"the image's class (chance {shares[1]:.1%})"
    )
  fig.suptitle(title, fontsize=10)
  return fig


def plane(
  images: np.ndarray, points: np.ndarray, labels: Sequence[str], title: str
) -> mpl_figure.Figure:
  """A map of images: thumbnails where there is room, dots for the others.

  Args:
    images: uint8 [n, h, w, 3].
    points: where each lies [n, 2].
    labels: the class of each image [n], '' where it is not known.
    title: of the figure.

  Returns:
    A figure; dots and the frames of thumbnails have the colour of the class,
    which a legend names. Of more classes than COLOURS, the
    most frequent ones have a colour, and the others are grey.
  """
  counts = collections.Counter(label for label in labels if label)
  names = sorted(counts)
  if len(names) > len(COLOURS):
    names = sorted(name for name, _ in counts.most_common(FREQUENT))
  colours = dict(zip(names, COLOURS, strict=False))
  fig = figures_lib.figure(7.4 if names else 6, 6)
  axis = fig.subplots()
  of_points = [colours.get(label, NEUTRAL) for label in labels]
  # All in one go, in their order, so that no class lies on top of the others.
  axis.scatter(
    *points.T,
    s=np.clip(8000 / len(points), 4, 50),
    c=of_points,
    linewidths=0,
  )
  side = np.ptp(points, axis=0).max() / ACROSS
  for i in _apart(points, side):
    left, bottom = points[i] - side / 2
    extent = (left, left + side, bottom, bottom + side)
    axis.imshow(images[i], extent=extent, zorder=2)
    if labels[i]:
      axis.add_patch(
        mpl_patches.Rectangle(
          (left, bottom),
          side,
          side,
          fill=False,
          edgecolor=of_points[i],
          linewidth=1.5,
          zorder=3,
        )
      )
  if side:  # thumbnails have moved the limits
    low, high = points.min(axis=0) - side, points.max(axis=0) + side
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
  others = len(counts) - len(names)
  entries = [(_short(name, 24), colour) for name, colour in colours.items()]
  if others:
    entries.append((f'{others} others', NEUTRAL))
  if '' in labels:
    entries.append(('not known', NEUTRAL))
  if names:
    legend = fig.legend(
      [
        lines.Line2D([], [], marker='o', linestyle='', color=colour)
        for _, colour in entries
      ],
      [name for name, _ in entries],
      loc='outside right center',
      frameon=False,
      fontsize=9,
    )
    for text in legend.get_texts():
      text.set_parse_math(False)
  axis.set_aspect('equal')
  axis.set_axis_off()
  axis.set_title(title, fontsize=10)
  return fig


def _apart(points: np.ndarray, side: float) -> list[int]:
  """Some of the points, so that squares around them do not overlap."""
  chosen: list[int] = []
  for i, point in enumerate(points):
    distances = np.abs(points[chosen] - point).max(axis=1)
    if side and (distances >= side).all():
      chosen.append(i)
  return chosen


def _short(name: str, letters: int) -> str:
  return name if len(name) <= letters else name[: letters - 1] + '…'


def _show(axis, image, label, colour) -> None:
  axis.imshow(image)
  axis.set_xticks([])
  axis.set_yticks([])
  axis.set_xlabel(_short(label, 14), fontsize=7, labelpad=2, parse_math=False)
  axis.spines[:].set_visible(colour is not None)
  if colour:
    axis.spines[:].set(color=colour, linewidth=2)

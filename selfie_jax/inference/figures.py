"""Pictures of embeddings: nearest neighbours, and a map."""

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib import figure as mpl_figure
from matplotlib import offsetbox
import numpy as np

from selfie_jax import figures as figures_lib
from selfie_jax.inference import vectors as vectors_lib

NEUTRAL = '#d0d0d0'  # of images whose class has no colour of its own
_PAIRS = colormaps['tab20'].colors  # dark, light, dark, light, ...
COLOURS = [c for c in _PAIRS[::2] + _PAIRS[1::2] if len(set(c)) > 1]  # no grey
ACROSS = 20  # thumbnails side by side on a map


def neighbours(
  images: np.ndarray,
  shown: np.ndarray,
  nearest: np.ndarray,
  labels: Sequence[str],
) -> mpl_figure.Figure:
  """Some images, each with the images nearest to it.

  Where both classes are known, a neighbour of the image's class has a green
  frame, any other a red one. The title has the share of such neighbours, of all
  images.

  Args:
    images: uint8 [n, h, w, 3].
    shown: indices of the images to show [q].
    nearest: indices of those nearest to each image, the nearest first [n, k].
    labels: the class of each image [n], '' where unknown.
  """
  k, size = nearest.shape[1], figures_lib.TILE
  height = size + 0.2 if any(labels) else size
  fig = figures_lib.figure(size * (k + 1.2), height * len(shown) + 0.5)
  # The narrow column stands between the image and its neighbours.
  grid = fig.add_gridspec(len(shown), k + 2, width_ratios=[1, 0.2] + [1] * k)
  for row, query in enumerate(shown):
    _show(fig.add_subplot(grid[row, 0]), images[query], labels[query])
    for column, i in enumerate(nearest[query], start=2):
      axis = fig.add_subplot(grid[row, column])
      _show(axis, images[i], labels[i], labels[query])
  title = f'Left: the image. Right: the {k} nearest to it'
  shares = vectors_lib.agreement(nearest, np.asarray(labels))
  if shares:
    title += (
      ', green if of its class\n'
      f'Of the neighbours of all {len(images):,} images {shares[0]:.1%} are of '
      f"the image's class (chance {shares[1]:.1%})"
    )
  fig.suptitle(title, fontsize=10)
  return fig


def predictions(
  images: np.ndarray, labels: Sequence[str], predicted: Sequence[str]
) -> mpl_figure.Figure:
  """Images [n, h, w, 3] with the predicted class; green if it is the label.

  Without a frame if the label is ''.
  """
  columns = min(len(images), 8)
  rows = -(-len(images) // columns)
  fig = figures_lib.figure(columns * figures_lib.TILE, 1.25 * rows + 0.3)
  shown = zip(images, labels, predicted, strict=True)
  for i, (image, label, name) in enumerate(shown):
    axis = fig.add_subplot(rows, columns, i + 1)
    _show(axis, image, name, label)
  return fig


def plane(
  images: np.ndarray, points: np.ndarray, labels: Sequence[str], title: str
) -> mpl_figure.Figure:
  """A map of images: dots, and thumbnails where there is room.

  Both have the colour of the class, which a legend names; all are grey if there
  are more classes than COLOURS.

  Args:
    images: uint8 [n, h, w, 3].
    points: where each lies [n, 2].
    labels: the class of each image [n], '' where unknown.
    title: of the figure.
  """
  names = sorted(set(labels) - {''})
  names = names if len(names) <= len(COLOURS) else []
  colours = dict(zip(names, COLOURS, strict=False))
  of_points = [colours.get(label, NEUTRAL) for label in labels]
  fig = figures_lib.figure(7.4 if names else 6, 6)
  axis = fig.subplots()
  axis.scatter(*points.T, s=12, c=of_points, linewidths=0)
  for i in _apart(points, np.ptp(points, axis=0).max() / ACROSS):
    thumbnail = offsetbox.OffsetImage(images[i], zoom=18 / images.shape[1])
    box = offsetbox.AnnotationBbox(thumbnail, points[i], pad=0)
    box.patch.set(edgecolor=of_points[i], linewidth=1.5)
    axis.add_artist(box)
  if names:
    handles = [axis.scatter([], [], color=colours[name]) for name in names]
    place = {'loc': 'outside right center', 'frameon': False, 'fontsize': 9}
    legend = fig.legend(handles, names, **place)
    for text in legend.get_texts():
      text.set_parse_math(False)  # a class may have a $ in its name
  axis.set_aspect('equal', 'datalim')
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


def _show(axis, image: np.ndarray, name: str, label: str = '') -> None:
  """An image above its name; green or red if the label is known too."""
  axis.imshow(image)
  axis.set(xticks=[], yticks=[])
  axis.set_xlabel(name[:14], fontsize=7, labelpad=2, parse_math=False)
  axis.spines[:].set_visible(bool(name and label))
  colour = figures_lib.RIGHT if name == label else figures_lib.WRONG
  axis.spines[:].set(color=colour, linewidth=2)

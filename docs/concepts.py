"""Draws docs/concepts.png, Selfie's data flow: python -m docs.concepts.

Patches, split and sizes are those of configs/cifar_pretrain.py. The photo comes
with scikit-learn: china.jpg by danielbuechele, CC BY 2.0.
"""

import pathlib

import jax
from matplotlib import figure as mpl_figure
from matplotlib import patches as mpl_patches
import numpy as np
from PIL import Image
from sklearn import datasets

from configs import cifar_pretrain
from selfie_jax import figures as figures_lib
from selfie_jax.models import patches

PICTURE = pathlib.Path(__file__).resolve().parent / 'concepts.png'
P_COLOUR, A_COLOUR, PLACE_COLOUR = '#9ecae1', '#fdae6b', '#a1d99b'
NEW_COLOUR, WRONG_COLOUR, INK = '#d9d9d9', '#f0f0f0', '#333333'

_CROP = (8, 25, 408, 425)  # left, top, right, bottom: the pagoda
_PATCH_PIXELS = 64
_SPLIT_SEED = 55  # holes that do not touch
_SIZE = (100, 59)  # the drawing's own units
_INCHES = 0.08  # a unit
_FONT = 9


def main() -> None:
  draw().savefig(PICTURE, dpi=200)


def draw() -> mpl_figure.Figure:
  """Pretraining above, finetuning below."""
  width, height = _SIZE
  fig = mpl_figure.Figure((width * _INCHES, height * _INCHES))
  axes = fig.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
  axes.set_axis_off()
  config = cifar_pretrain.get_config()
  grid = patches.grid_size(config.image_size, config.patch_size)
  cut = patches.extract(_photo(grid * _PATCH_PIXELS)[None], _PATCH_PIXELS)[0]
  m = patches.num_targets(grid**2, config.masked_fraction)
  _, targets = patches.split(jax.random.key(_SPLIT_SEED), grid**2, m)
  _draw_pretraining(axes, np.asarray(cut), np.asarray(targets))
  _draw_finetuning(axes, np.asarray(patches.assemble(cut[None])[0]))
  return fig


def _photo(side: int) -> np.ndarray:
  """The square picture, uint8 [side, side, 3]."""
  photo = Image.fromarray(datasets.load_sample_image('china.jpg'))
  return np.asarray(photo.crop(_CROP).resize((side, side), Image.LANCZOS))


def _draw_pretraining(axes, cut: np.ndarray, targets: np.ndarray) -> None:
  """From the patches [patches, size, size, 3] to the logits."""
  n, m = len(cut), len(targets)
  _write(axes, 1, 57, 'Pretraining: which patch fits which hole?', bold=True)

  # The targets, on the way to the columns of the logits.
  for i, place in enumerate(targets):
    _show(axes, cut[place], 2 + i * 4.7, 46, 4)
    _write(axes, 4 + i * 4.7, 51.6, f'{i + 1}', align='center')
  _write(axes, 11, 44, f'{m} targets', align='center')
  _arrow(axes, (21, 48), (25, 48))
  _box(axes, 25, 45, 6, 6, P_COLOUR, 'P')
  _arrow(axes, (31, 48), (77.5, 48))
  _write(axes, 54, 49.8, 'P embeds every patch on its own', align='center')

  # The context, on the way to the queries.
  _show_puzzle(axes, cut, targets, 2, 22, 18)
  _write(axes, 11, 19.8, f'context: {n - m} patches', align='center')
  _arrow(axes, (21, 31), (25, 31))
  _box(axes, 25, 28, 6, 6, P_COLOUR, 'P')
  axes.plot([28, 28], [34.3, 44.7], color=INK, linewidth=0.8, linestyle=':')
  _write(axes, 28.8, 39.5, 'the same P')
  _arrow(axes, (31, 31), (34.5, 31))
  for i in range(n - m + 1):
    _bar(axes, 35 + 1.4 * i, 27.5, A_COLOUR if i == 0 else P_COLOUR)
  _write(axes, 35.5, 36, '$u_0$', align='center')
  _write(axes, 45, 36, f'{n - m} vectors', align='center')
  _arrow(axes, (53.2, 31), (56.5, 31))
  _box(axes, 56.5, 28, 6, 6, A_COLOUR, 'A')
  _arrow(axes, (62.5, 31), (65.5, 31))
  _bar(axes, 66, 27.5, A_COLOUR)
  _write(axes, 66.5, 36, '$u$', align='center')
  _write(axes, 69.3, 31, '+', align='center', size=13)
  for i in range(m):
    _bar(axes, 66.7 + 1.4 * i, 18.5, PLACE_COLOUR)
  _arrow(axes, (69.3, 25.7), (69.3, 29.6))
  _write(axes, 64, 22, 'positions\nof the holes', align='right')
  _arrow(axes, (70.5, 31), (73, 31))
  _draw_logits(axes, cut[targets], 80, 23)


def _draw_logits(axes, targets: np.ndarray, x: float, y: float) -> None:
  """A row for every hole, a column for every target."""
  m, cell = len(targets), 4.0
  top = y + m * cell
  _write(axes, 75.5, top + 1, 'queries', align='center')
  for i, patch in enumerate(targets):
    row, column = top - (i + 1) * cell, x + i * cell
    for colour, bottom in ((A_COLOUR, 2.0), (PLACE_COLOUR, 1.4)):
      _rectangle(axes, 74, row + bottom, 5, 0.6, colour)
    _show(axes, patch, column + 0.5, top + 0.7, 3)
    _write(axes, x + m * cell + 1.5, row + 2, f'{i + 1}', align='center')
    _bar(axes, column + 1.5, top + 5, P_COLOUR)
    _write(axes, column + 2, top + 13.6, f'{i + 1}', align='center')
    for j in range(m):
      colour = figures_lib.RIGHT if i == j else WRONG_COLOUR
      _rectangle(axes, x + j * cell, row, cell, cell, colour, edge='white')
  _write(
    axes, x + m * cell / 2, y - 2, 'logits: query · vector', align='center'
  )
  _write(
    axes, x + m * cell / 2, y - 4.3, 'softmax along a row;', align='center'
  )
  _write(axes, x + m * cell / 2, y - 6.6, 'green is right', align='center')


def _draw_finetuning(axes, image: np.ndarray) -> None:
  """Where the weights go."""
  _write(
    axes, 1, 13.5, 'Finetuning: whole images, all weights trained', bold=True
  )
  _show(axes, image, 2, 1, 9.8)
  shared = ('stem', 'block1', 'block2', 'block3')
  for y, name, last, colour in (
    (6.4, 'ResNet-50', 'block4', NEW_COLOUR),
    (1.2, 'ResNet-36 + A', 'A', A_COLOUR),
  ):
    _arrow(axes, (12.5, 5.9), (15, y + 2))
    _write(axes, 15.5, y + 2, name)
    colours = [P_COLOUR] * len(shared) + [colour, NEW_COLOUR]
    for i, part in enumerate((*shared, last, 'head')):
      _box(axes, 31 + 8.9 * i, y, 8.2, 4.2, colours[i], part)
  for i, (colour, text) in enumerate(
    ((P_COLOUR, 'from P'), (A_COLOUR, 'from A'), (NEW_COLOUR, 'new'))
  ):
    _rectangle(axes, 87, 8.4 - 3.2 * i, 1.6, 1.6, colour)
    _write(axes, 89.6, 9.1 - 3.2 * i, text)


def _show(axes, image: np.ndarray, x: float, y: float, side: float) -> None:
  axes.imshow(image, extent=(x, x + side, y, y + side), interpolation='lanczos')


def _show_puzzle(axes, cut, targets, x: float, y: float, side: float) -> None:
  """The image with its numbered holes, patches a little apart."""
  grid = round(len(cut) ** 0.5)
  step = side / grid
  for place, patch in enumerate(cut):
    row, column = divmod(place, grid)
    left, bottom = x + column * step, y + side - (row + 1) * step
    if place not in targets:
      _show(axes, patch, left + 0.12, bottom + 0.12, step - 0.24)
      continue
    axes.add_patch(
      mpl_patches.Rectangle(
        (left + 0.3, bottom + 0.3),
        step - 0.6,
        step - 0.6,
        fill=False,
        edgecolor=INK,
        linewidth=0.9,
        linestyle='--',
      )
    )
    number = targets.tolist().index(place) + 1
    _write(
      axes, left + step / 2, bottom + step / 2, f'{number}', align='center'
    )


def _box(axes, x, y, width, height, colour: str, text: str) -> None:
  axes.add_patch(
    mpl_patches.FancyBboxPatch(
      (x + 0.6, y + 0.6),
      width - 1.2,
      height - 1.2,
      boxstyle='round,pad=0.6',
      facecolor=colour,
      edgecolor=INK,
      linewidth=0.8,
    )
  )
  _write(axes, x + width / 2, y + height / 2, text, align='center')


def _bar(axes, x: float, y: float, colour: str) -> None:
  """A vector."""
  _rectangle(axes, x, y, 1, 7, colour)


def _rectangle(axes, x, y, width, height, colour: str, edge=INK) -> None:
  axes.add_patch(
    mpl_patches.Rectangle(
      (x, y), width, height, facecolor=colour, edgecolor=edge, linewidth=0.5
    )
  )


def _arrow(axes, start, end) -> None:
  style = {'arrowstyle': '-|>', 'color': INK, 'linewidth': 0.9}
  axes.annotate('', end, start, arrowprops=style | {'shrinkA': 1, 'shrinkB': 1})


def _write(axes, x, y, text, align='left', bold=False, size=_FONT) -> None:
  axes.text(
    x,
    y,
    text,
    size=size,
    color=INK,
    weight='bold' if bold else 'normal',
    horizontalalignment=align,
    verticalalignment='center',
  )


if __name__ == '__main__':
  main()

"""Writes the ledger into docs/performance.md: python -m docs.performance.

The table of the steps' costs on TPUs, and docs/performance.png, both from
benchmarks/tpu_cost.json.
"""

import pathlib
import re

from matplotlib import figure as mpl_figure

from benchmarks import tpu_ledger

PAGE = pathlib.Path(__file__).with_name('performance.md')
PICTURE = PAGE.with_suffix('.png')
FORWARD_COLOUR, BACKWARD_COLOUR, REST_COLOUR = '#9ecae1', '#3182bd', '#bdbdbd'

_MARKS = '<!-- ledger -->\n{}\n<!-- /ledger -->'


def main() -> None:
  PAGE.write_text(filled(PAGE.read_text()))
  draw().savefig(PICTURE, dpi=160)


def filled(page: str) -> str:
  """The page with the ledger's table in its place."""
  pattern = re.compile(_MARKS.format('.*?'), re.S)
  return pattern.sub(lambda _: _MARKS.format(table()), page)


def table() -> str:
  """The ledger in Markdown."""
  rows = [
    '| step | chips | images a chip | kilocycles an image (by bandwidth alone) '
    '| GFLOP an image | utilisation | memory | all-reduces (MB) |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for step in tpu_ledger.read():
    config, topology, _, *more = step['flags']
    name = pathlib.Path(config).stem
    if more:
      name += ', ' + ', '.join(m.removeprefix('--config.') for m in more)
    found = step['found']
    rows.append(
      f'| `{name}` '
      f'| {found["devices"]} x {topology.partition("=")[2].partition(":")[0]} '
      f'| {found["batch_per_device"]:.0f} '
      f'| {found["kilocycles_per_image"]:.1f} '
      f'({found["of_them_by_bandwidth"]:.1f}) '
      f'| {found["gigaflop_per_image"]:.2f} '
      f'| {found["utilisation"]:.2f} '
      f'| {found["memory_bytes"] / 2**30:.2f} GiB, {found["memory_share"]:.0%} '
      f'| {found["collectives"]:.0f} '
      f'({found["collective_bytes"] / 1e6:.1f}) |'
    )
  return '\n'.join(rows)


def draw() -> mpl_figure.Figure:
  """Where the time of the first step of each kind on one chip goes."""
  steps = [s for s in tpu_ledger.read() if 'v5e:1x1' in s['flags'][1]]
  fig = mpl_figure.Figure((9, 2.4 * len(steps)), layout='constrained')
  for axes, step in zip(fig.subplots(len(steps)), steps, strict=True):
    parts = dict(step['found']['parts'])
    rest = parts.pop('optimiser and rest')
    names = sorted({name.rpartition(' ')[0] for name in parts}, key=_order)
    forward, backward = [
      [parts.get(f'{name} {way}', 0) for name in names]
      for way in ('forward', 'backward')
    ]
    axes.barh(names, forward, color=FORWARD_COLOUR, label='forward')
    axes.barh(
      names, backward, left=forward, color=BACKWARD_COLOUR, label='backward'
    )
    axes.barh(['optimiser and rest'], [rest], color=REST_COLOUR)
    axes.invert_yaxis()
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(
      f'{pathlib.Path(step["flags"][0]).stem}: '
      f'{step["found"]["kilocycles_per_image"]:.0f} kilocycles an image',
      loc='left',
      fontsize=10,
    )
  fig.axes[0].legend(frameon=False)
  fig.axes[-1].set_xlabel('kilocycles an image, TPU v5e, estimated')
  return fig


def _order(name: str) -> tuple[int, str]:
  names = ('stem', 'block', 'attention')
  return next(i for i, n in enumerate(names) if name.startswith(n)), name


if __name__ == '__main__':
  main()

"""Writes the ledger into the documents: python -m docs.performance.

The table of the steps' costs on TPUs and docs/performance.png, and what whole
jobs would take and cost in docs/tpu.md; all from benchmarks/tpu_cost.json.
"""

from collections.abc import Callable
import importlib
import pathlib
import re

from matplotlib import figure as mpl_figure

from benchmarks import chips
from benchmarks import tpu_ledger

PAGE = pathlib.Path(__file__).with_name('performance.md')
JOBS_PAGE = PAGE.with_name('tpu.md')
PICTURE = PAGE.with_suffix('.png')
FORWARD_COLOUR, BACKWARD_COLOUR, REST_COLOUR = '#9ecae1', '#3182bd', '#bdbdbd'

_SLICES = {'v5e': (1, 8), 'v4': (8,), 'v5p': (8,)}

_MARKS = '<!-- ledger -->\n{}<!-- /ledger -->'


def main() -> None:
  PAGE.write_text(filled(PAGE.read_text(), table))
  JOBS_PAGE.write_text(filled(JOBS_PAGE.read_text(), jobs))
  draw().savefig(PICTURE, dpi=160)


def filled(page: str, make: Callable[[], str]) -> str:
  """The page with a table of the ledger in its place."""
  pattern = re.compile(_MARKS.format('.*?'), re.S)
  return pattern.sub(lambda _: _MARKS.format(make() + '\n'), page)


def jobs() -> str:
  """What the paper's jobs take on slices of each chip, in Markdown.

  From the entry with as many chips, or with one. What differs between its
  number of images a chip and the job's, and all that is no step, is left out.
  """
  rows = [
    '| job | steps x images | chips | memory for the step | hours | dollars |',
    '|---|---|---|---|---|---|',
  ]
  entries = {
    (_job(step), _kind(step), step['found']['devices']): step['found']
    for step in tpu_ledger.read()
    if len(step['flags']) == 3  # the paper's fields
  }
  for job, kind in dict.fromkeys(key[:2] for key in entries):
    config = importlib.import_module(f'configs.{job}').get_config()
    clock, memory = chips.CHIPS[kind][1], chips.CHIPS[kind][3]
    for count in _SLICES[kind]:
      found = entries.get((job, kind, count)) or entries[job, kind, 1]
      share = config.batch_size / count / found['batch_per_device']
      cycles = found['kilocycles_per_image'] * 1e3 * config.batch_size / count
      hours = config.total_steps * cycles / clock / 3600
      rows.append(
        f'| `{job}` | {config.total_steps:,} x {config.batch_size:,} '
        f'| {count} x {kind} '
        f'| {found["memory_bytes"] * share / 2**30:.1f} of '
        f'{memory / 2**30:.0f} GiB '
        f'| {hours:.1f} | {hours * count * chips.PRICES[kind]:.0f} |'
      )
  return '\n'.join(rows)


def _job(step: dict) -> str:
  return pathlib.Path(step['flags'][0]).stem


def _kind(step: dict) -> str:
  return step['flags'][1].partition('=')[2].partition(':')[0]


def table() -> str:
  """The ledger in Markdown."""
  rows = [
    '| step | chips | images a chip | kilocycles an image (of these from bytes)'
    ' | GFLOP an image | utilisation | memory | all-reduces (MB) |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for step in tpu_ledger.read():
    name, more = _job(step), step['flags'][3:]
    if more:
      name += ', ' + ', '.join(m.removeprefix('--config.') for m in more)
    found = step['found']
    rows.append(
      f'| `{name}` '
      f'| {found["devices"]} x {_kind(step)} '
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
      f'{_job(step)}: '
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

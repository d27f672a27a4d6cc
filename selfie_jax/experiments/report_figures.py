"""The figures of a report."""

import itertools

import matplotlib
from matplotlib import figure as mpl_figure
import pandas as pd

from selfie_jax import figures as figures_lib
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import statistics

COLOURS = ('#d95f02', '#08519c')  # what is compared with, and ours
PALETTE = ('black', *matplotlib.colormaps['tab20'].colors)  # default first


def accuracy(plan: plan_lib.Plan, compared: pd.DataFrame) -> mpl_figure.Figure:
  """Test accuracy and the difference, of the labels or of the choices."""
  return _choices(compared) if plan.spec.ablates else _labels(plan, compared)


def curves(plan: plan_lib.Plan, runs: pd.DataFrame) -> mpl_figure.Figure:
  """Accuracies against steps: a thin line a run, a thick one their mean."""
  columns, choices = 1 + len(plan.fractions), runs.choice.unique()
  fig = figures_lib.figure(max(8.5, 2.2 * columns), 3 + len(choices) / 10)
  first, *others = fig.subplots(1, columns)
  for choice, colour in zip(choices, PALETTE, strict=False):
    starts = runs[(runs.stage == 'pretrain') & (runs.choice == choice)]
    _lines(first, starts[starts.finished], 'test', 'patch_accuracy', colour)
  for chance in runs.chance.dropna().unique():
    first.axhline(100 * chance, color=figures_lib.CHANCE, linestyle=':')
  _finish(first, 'patch accuracy, %')
  colours = PALETTE if plan.spec.ablates else COLOURS
  for axis, fraction in zip(others, plan.fractions, strict=True):
    kinds = itertools.product(plan.spec.groups.items(), choices)
    for ((group, name), choice), colour in zip(kinds, colours, strict=False):
      cells = statistics.cells(runs, *group, fraction, choice)
      _lines(axis, cells, 'validation', 'accuracy', colour, choice or name)
    _finish(axis, f'validation, {100 * fraction:g} % of labels')
  _legend(fig)
  return fig


def _labels(plan: plan_lib.Plan, compared: pd.DataFrame) -> mpl_figure.Figure:
  """Test accuracy here and in the paper (figure 4), and the difference.

  Against the labels, a colour a group.
  """
  compared = compared.assign(reach=compared.high - compared.ahead)
  panels = {
    'test accuracy here, %': ('mean', 'std'),
    'in the paper, %': ('paper', 'paper_std'),
    'ahead by, points (95 % interval)': ('ahead', 'reach'),
  }
  if not plan.spec.paper:
    panels.pop('in the paper, %')
  shares = compared.fraction.unique()
  ticks = {share: i for i, share in enumerate(shares)}
  fig = figures_lib.figure(9.5, 3.4)
  axes = fig.subplots(1, len(panels))
  for axis, (title, (mean, reach)) in zip(axes, panels.items(), strict=True):
    for name, c in zip(compared.kind.unique(), COLOURS, strict=False):
      rows = compared[(compared.kind == name) & compared[mean].notna()]
      axis.errorbar(
        rows.fraction.map(ticks),
        rows[mean],
        rows[reach].fillna(0),
        color=c,
        label=name,
        fmt='o-',
        capsize=3,
      )
    names = map('{:g} %'.format, 100 * shares)
    axis.set_xticks(range(len(ticks)), [*names], fontsize=8)
    axis.set_xlim(-0.4, len(ticks) - 0.6)
    if mean == 'ahead':
      axis.axhline(0, color=figures_lib.CHANCE, linewidth=0.8)
    _finish(axis, title, 'labels')
  _legend(fig)
  return fig


def _choices(compared: pd.DataFrame) -> mpl_figure.Figure:
  """Patch accuracy, test accuracy and the difference; a line a choice.

  A colour a label fraction; the lines are named once, on the left.
  """
  compared = compared.assign(reach=compared.high - compared.ahead)
  names = compared.kind.unique()
  lines = {name: len(names) - i for i, name in enumerate(names)}
  fig = figures_lib.figure(9.5, 1.3 + 0.2 * len(names))
  panels = {
    'patch accuracy, % (bar: chance)': ('patch_accuracy', None),
    'finetuned: test accuracy, %': ('mean', 'std'),
    'ahead by, points (95 % interval)': ('ahead', 'reach'),
  }
  axes = fig.subplots(1, len(panels), sharey=True)
  for axis, (title, (mean, reach)) in zip(axes, panels.items(), strict=True):
    shares = compared.groupby('fraction')
    for (share, group), c in zip(shares, COLOURS * 2, strict=False):
      rows = group[group[mean].notna()]
      axis.errorbar(
        rows[mean],
        rows.kind.map(lines),
        xerr=rows[reach].fillna(0) if reach else None,
        color=c,
        label=f'{100 * share:g} % of the labels',
        fmt='o',
        markersize=5,
        capsize=2,
      )
    if mean == 'patch_accuracy':
      bar = {'marker': '|', 'color': figures_lib.CHANCE}
      axis.scatter(compared.chance, compared.kind.map(lines), **bar)
    if mean == 'ahead':
      axis.axvline(0, color=figures_lib.CHANCE, linewidth=0.8)
    axis.grid(axis='y', color='#eeeeee')
    axis.set_axisbelow(True)
    _finish(axis, title, '')
  axes[0].set_yticks([*lines.values()], [*lines], fontsize=8)
  _legend(fig)
  return fig


def _lines(axis, runs, part, metric, colour, name=None) -> None:
  curve = {}
  for run, history in runs.history.items():
    rows = pd.DataFrame(history)
    curve[run] = rows[rows.part == part].set_index('step')[metric]
  if curve:
    frame = 100 * pd.DataFrame(curve)
    axis.plot(frame, color=colour, linewidth=0.7, alpha=0.5)
    mean = frame.mean(axis=1, skipna=False)
    axis.plot(mean, 'o-', color=colour, label=name, markersize=2)


def _finish(axis, title: str, below: str = 'step') -> None:
  axis.set_title(title, fontsize=10)
  axis.set_xlabel(below)
  axis.spines[['top', 'right']].set_visible(False)


def _legend(fig) -> None:
  """Each name once; where runs are missing, a panel has not all of them."""
  shown = {}
  for axis in fig.axes:
    for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
      shown.setdefault(name, handle)
  place = {'loc': 'outside lower center', 'ncols': 4, 'frameon': False}
  fig.legend(shown.values(), shown.keys(), fontsize=8, **place)

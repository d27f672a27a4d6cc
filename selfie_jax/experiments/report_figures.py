"""The figures of a report."""

import matplotlib
from matplotlib import figure as mpl_figure
from matplotlib import ticker
import numpy as np

from selfie_jax import figures as figures_lib
from selfie_jax.experiments import paper_tables
from selfie_jax.experiments import report_facts
from selfie_jax.experiments import statistics

Facts = report_facts.Facts

PALETTE = ('black', *matplotlib.colormaps['tab20'].colors)  # default first
COLOURS = ('#d95f02', '#08519c')  # what is compared with, and ours
BARS = {'marker': 'o', 'markersize': 5, 'capsize': 3, 'linewidth': 1.6}


def draw(facts: Facts) -> dict[str, mpl_figure.Figure]:
  """Figures by name, see report_tables.FIGURES; those that have something."""
  made = {
    'accuracy': None if facts.plan.spec.ablates else accuracy(facts),
    'ablations': ablations(facts) if facts.plan.spec.ablates else None,
    'pretraining': pretraining(facts),
    'tuning': tuning(facts),
    'curves': curves(facts),
  }
  return {name: figure for name, figure in made.items() if figure is not None}


def accuracy(facts: Facts) -> mpl_figure.Figure:
  """Test accuracy against labels (paper, figure 4), and the difference."""
  plan, groups = facts.plan, facts.plan.spec.groups
  published = paper_tables.PUBLISHED[plan.experiment]
  names = [report_facts.group_name(plan, group) for group in groups]
  shares = sorted(plan.fractions)
  fig = figures_lib.figure(9.5, 3.4)
  ours, paper, apart = fig.subplots(1, 3)
  for group, name, colour in zip(groups, names, COLOURS, strict=True):
    known, found = {}, {}
    for x, fraction in enumerate(shares):
      key = (*group, fraction)
      if key in published:
        known[x] = published[key]
      if values := facts.accuracies(key):
        found[x] = statistics.mean_std(values)
    _errorbars(ours, found, color=colour, label=name)
    _errorbars(paper, known, color=colour, label=name)
  known, found = {}, {}
  for x, fraction in enumerate(shares):
    one, two = ((*group, fraction) for group in groups)
    if one in published and two in published:
      known[x] = published[two][0] - published[one][0], None
    if difference := facts.difference(two, one):
      mean, interval = difference
      found[x] = mean, interval and interval[1] - mean
  _errorbars(apart, found, color=COLOURS[1], label='ours, 95 % interval')
  style = {'color': 'black', 'linestyle': ':', 'capsize': 0}
  _errorbars(apart, known, label='paper', **style)
  apart.axhline(0, color=figures_lib.CHANCE, linewidth=0.8)
  ours.set_title('test accuracy here, %', fontsize=10)
  paper.set_title('in the paper, %', fontsize=10)
  apart.set_title('difference, points', fontsize=10)
  for axis in (ours, paper, apart):
    axis.set_xticks(range(len(shares)), [f'{100 * f:g} %' for f in shares])
    axis.set_xlim(-0.4, len(shares) - 0.6)
    axis.set_xlabel('labels')
    if axis.containers:
      axis.legend(
        frameon=False,
        fontsize=8,
        loc='upper center',
        bbox_to_anchor=(0.5, -0.2),
      )
    _plain(axis)
  return fig


def ablations(facts: Facts) -> mpl_figure.Figure:
  """Each choice in a row: patch accuracy left, finetuned accuracy right."""
  plan = facts.plan
  starts = facts.jobs('pretrain')
  fig = figures_lib.figure(8.5, 0.9 + 0.34 * len(starts))
  left, right = fig.subplots(1, 2, sharey=True)
  markers = dict(zip(plan.fractions, 'osD^v', strict=False))
  for row, start in enumerate(starts):
    colour = COLOURS[1] if start.choice else 'black'
    if results := facts.outcomes[start].results:
      metrics = results['metrics']
      left.plot(100 * metrics['patch_accuracy'], row, 'o', color=colour)
      left.plot(100 * metrics['chance'], row, '|', color=figures_lib.CHANCE)
    for fraction, marker in markers.items():
      key = (*plan.spec.groups[0], fraction)
      if values := facts.accuracies(key, start.choice):
        mean, std = statistics.mean_std(values)
        style = BARS | {'marker': marker, 'color': colour}
        right.errorbar(mean, row, xerr=std or 0, **style)
  left.set_yticks(
    range(len(starts)), [start.choice or 'default' for start in starts]
  )
  left.invert_yaxis()
  left.set_title('patch accuracy, % (bar: chance)', fontsize=10)
  shares = ', '.join(f'{100 * f:g} %' for f in plan.fractions)
  right.set_title(f'test accuracy with {shares} of the labels, %', fontsize=10)
  for axis in (left, right):
    axis.grid(axis='y', color='#eeeeee')
    _plain(axis)
  return fig


def pretraining(facts: Facts) -> mpl_figure.Figure | None:
  """Patch accuracy on test images against steps."""
  starts = [j for j in facts.jobs('pretrain') if facts.outcomes[j].history]
  if not starts:
    return None
  fig = figures_lib.figure(8.5, 3.2)
  axis = fig.subplots()
  for start, colour in zip(starts, PALETTE, strict=False):
    rows = [r for r in facts.outcomes[start].history if 'patch_accuracy' in r]
    axis.plot(
      [row['step'] for row in rows],
      [100 * row['patch_accuracy'] for row in rows],
      color=colour,
      marker='o',
      markersize=3,
      linewidth=1.4,
      label=start.choice or 'default',
    )
  for chance in sorted(
    {facts.outcomes[j].history[0]['chance'] for j in starts}
  ):
    axis.axhline(100 * chance, color=figures_lib.CHANCE, linestyle=':')
  axis.set_xlabel('step (dotted: chance)')
  axis.set_title('patch accuracy on test images, %', fontsize=10)
  if len(starts) > 1:
    fig.legend(loc='outside right upper', frameon=False, fontsize=8)
  _plain(axis)
  return fig


def tuning(facts: Facts) -> mpl_figure.Figure | None:
  """Validation accuracy against the learning rate, a panel a fraction."""
  if not facts.tried:
    return None
  fig, panels = _panels(facts)
  for fraction, axis in panels.items():
    for group, colour in zip(facts.plan.spec.groups, COLOURS, strict=False):
      tried = facts.tried.get((*group, fraction), {})
      values = {r: 100 * v for r, v in sorted(tried.items()) if v is not None}
      name = report_facts.group_name(facts.plan, group)
      if values:
        axis.plot(
          [*values], [*values.values()], color=colour, marker='o', label=name
        )
    axis.set_xscale('log')
    axis.set_xticks(sorted(facts.plan.grid))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:g}'))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.set_xlabel('learning rate')
  _shared_legend(fig, panels, 'validation accuracy, %')
  return fig


def curves(facts: Facts) -> mpl_figure.Figure | None:
  """Validation accuracy against steps: a thin line a cell, a thick mean."""
  fig, panels = _panels(facts)
  drawn = False
  for fraction, axis in panels.items():
    for (group, choice), (name, colour) in _series(facts).items():
      lines = []
      for job in facts.cells((*group, fraction), choice):
        rows = [
          (row['step'], 100 * row['accuracy'])
          for row in facts.outcomes[job].history
          if row['part'] == 'validation'
        ]
        if rows:
          axis.plot(*zip(*rows, strict=True), color=colour, lw=0.7, alpha=0.5)
          lines.append(rows)
      if lines and len({tuple(x for x, _ in rows) for rows in lines}) == 1:
        mean = np.mean(lines, axis=0)
        axis.plot(mean[:, 0], mean[:, 1], color=colour, lw=2, label=name)
        drawn = True
    axis.set_xlabel('step')
  if not drawn:
    return None
  _shared_legend(fig, panels, 'validation accuracy, %')
  return fig


def _series(facts: Facts):
  """{(group, choice): (name, colour)}: groups, or the choices of ablations."""
  plan = facts.plan
  if plan.spec.ablates:
    choices = ['', *plan.choices()]
    return {
      (plan.spec.groups[0], choice): (choice or 'default', colour)
      for choice, colour in zip(choices, PALETTE, strict=False)
    }
  return {
    (group, ''): (report_facts.group_name(plan, group), colour)
    for group, colour in zip(plan.spec.groups, COLOURS, strict=True)
  }


def _panels(facts: Facts):
  """A figure with a panel for each label fraction, four in a row."""
  fractions = facts.plan.fractions
  columns = min(4, len(fractions))
  rows = -(-len(fractions) // columns)
  room = 1 if facts.plan.spec.ablates else 0  # for the longer legend
  fig = figures_lib.figure(8.5, 2.7 * rows + 0.3 + room)
  axes = fig.subplots(rows, columns, squeeze=False).ravel()
  panels = dict(zip(fractions, axes, strict=False))
  for fraction, axis in panels.items():
    axis.set_title(f'{100 * fraction:g} % of the labels', fontsize=10)
    _plain(axis)
  for axis in axes[len(fractions) :]:
    axis.set_axis_off()
  return fig, panels


def _shared_legend(fig, panels, label: str) -> None:
  first = next(iter(panels.values()))
  first.set_ylabel(label)
  for axis in panels.values():
    if not axis.has_data():
      axis.set_axis_off()
      axis.text(
        *(0.5, 0.5, 'not finished'),
        transform=axis.transAxes,
        ha='center',
        color='#777777',
      )
  handles = {
    name: handle
    for axis in panels.values()
    for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
  }
  fig.legend(
    handles.values(),
    handles.keys(),
    loc='outside lower center',
    ncols=3,
    frameon=False,
    fontsize=9,
  )


def _errorbars(axis, points, **style) -> None:
  """Draws {x: (mean, reach of the bar or None)}."""
  if points:
    means, reaches = zip(*points.values(), strict=True)
    reaches = [reach or 0 for reach in reaches]
    axis.errorbar(list(points), means, reaches, **BARS | style)


def _plain(axis) -> None:
  axis.spines[['top', 'right']].set_visible(False)

"""The picture of a report."""

import matplotlib
from matplotlib import figure as mpl_figure
import numpy as np
import pandas as pd

from selfie_jax import figures as figures_lib
from selfie_jax.experiments import plan as plan_lib

# Of the baseline and of what is compared with it.
COLOURS = ('#d95f02', '#08519c', *matplotlib.colormaps['tab20'].colors)


def accuracy(plan: plan_lib.Plan, compared: pd.DataFrame) -> mpl_figure.Figure:
  """Test accuracy here and in the paper, and the difference, with their spread.

  A row for each label fraction and a colour for each group; in an ablation a
  row for each choice, with its patch accuracy, and a colour for each fraction.
  """
  compared = compared.assign(
    reach=compared.high - compared.ahead,
    fraction=[f'{100 * share:g} %' for share in compared.fraction],
  )
  panels = {
    'patch_accuracy': ('patch accuracy, % (bar: chance)', None),
    'mean': ('test accuracy here, %', 'std'),
    'paper': ('in the paper, %', 'paper_std'),
    'ahead': ('ahead by, points (95 % interval)', 'reach'),
  }
  panels = {k: v for k, v in panels.items() if compared[k].notna().any()}
  row, colour = 'fraction', 'kind'
  if plan.spec.is_ablation:
    row, colour = colour, row
  rows = list(compared[row].unique())
  groups = compared.groupby(colour, sort=False)
  fig = figures_lib.figure(9.5, 1.6 + 0.2 * len(rows) * len(groups))
  axes = fig.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
  for axis, (mean, (title, error)) in zip(axes, panels.items(), strict=False):
    for i, (name, group) in enumerate(groups):
      places = np.array([rows.index(each) for each in group[row]]) + i / 5
      spread = group[error].fillna(0) if error else None
      style = {'fmt': 'o', 'capsize': 3, 'color': COLOURS[i % len(COLOURS)]}
      axis.errorbar(group[mean], places, xerr=spread, label=name, **style)
      if error is None:
        axis.scatter(group.chance, places, marker='|', color=figures_lib.CHANCE)
    if mean == 'ahead':
      axis.axvline(0, color=figures_lib.CHANCE, linewidth=0.8)
    axis.grid(axis='y', color='#eeeeee')
    figures_lib.label(axis, title)
  axes[0].set_yticks(range(len(rows)), rows, fontsize=8)
  axes[0].set_ylim(len(rows) - 0.3, -0.5)
  place = {'loc': 'outside lower center', 'ncols': 4, 'frameon': False}
  fig.legend(*axes[0].get_legend_handles_labels(), fontsize=8, **place)
  return fig

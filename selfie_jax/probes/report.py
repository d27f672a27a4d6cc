"""What a probe reports: a table, and charts."""

from typing import Any

from matplotlib import figure as mpl_figure

from selfie_jax import figures as figures_lib

PROBES = {'linear': 'linear probe', 'knn': 'nearest neighbours'}
COLOURS = {
  'pretrained': '#08519c',
  'finetuned': '#08519c',
  'random': '#9ecae1',
  None: '#bbbbbb',
}


def name(row: dict[str, Any]) -> str:
  """A row's metric: pretrained_block3_linear, ..., pixels_knn."""
  words = row['weights'], row['features'], row['probe']
  return '_'.join(word for word in words if word)


def title(row: dict[str, Any]) -> str:
  """A row's features: pretrained block3 at step 6, random block3, pixels."""
  words = [row['weights'], row['features']]
  if row['checkpoint'] is not None:
    words.append(f'at step {row["checkpoint"]:,}')
  return ' '.join(filter(None, words))


def table(results: dict[str, Any]) -> list[str]:
  """Lines for the log; `results` as in results.json."""
  lines = [
    f'{results["initialised_from"]}, test accuracy '
    f'(chance {results["metrics"]["chance"]:.1%}):',
    f'{"features":<42}{"dim":>5}{"knn":>8}{"linear":>8}  C',
  ]
  rows = results['probes']  # of each features, both probes
  for linear, knn in zip(rows[::2], rows[1::2], strict=True):
    notes = [f'{linear["strength"]:g}']
    if linear['is_end_of_grid']:
      notes.append('end of the grid')
    if not linear['has_converged']:
      notes.append(f'not converged in {linear["iterations"]} steps')
    lines.append(
      f'{title(linear):<42}{linear["dim"]:>5}{knn["test_accuracy"]:>8.1%}'
      f'{linear["test_accuracy"]:>8.1%}  {", ".join(notes)}'
    )
  return lines


def draw(results: dict[str, Any]) -> mpl_figure.Figure:
  """Bars of the newest checkpoint's test accuracies; `results.json` given."""
  newest = results['checkpoint'], None
  fig = figures_lib.figure(8, 3.6)
  for axis, probe in zip(fig.subplots(1, 2, sharey=True), PROBES, strict=True):
    rows = [
      row
      for row in results['probes']
      if row['probe'] == probe and row['checkpoint'] in newest
    ]
    kinds = list(dict.fromkeys(row['features'] for row in rows))
    for kind in kinds:
      here = [row for row in rows if row['features'] == kind]
      for i, row in enumerate(here):
        place = kinds.index(kind) + 0.4 * (i - (len(here) - 1) / 2)
        weights = row['weights']
        bar = axis.bar(
          place,
          100 * row['test_accuracy'],
          0.38,
          color=COLOURS[weights],
          label=f'{weights} weights' if weights and kind == kinds[0] else None,
        )
        axis.bar_label(bar, fmt='%.1f', fontsize=8)
    ticks = [kind.replace('_', '\n') for kind in kinds]
    axis.set_xticks(range(len(kinds)), ticks, fontsize=8)
  _finish(fig, f'Frozen features at step {results["checkpoint"]:,}', results)
  return fig


def draw_lengths(results: dict[str, Any]) -> mpl_figure.Figure:
  """Test accuracies by steps of training, the random network's at step 0.

  Args:
    results: as in results.json, of several checkpoints.
  """
  fig = figures_lib.figure(8, 3.8)
  for axis, probe in zip(fig.subplots(1, 2, sharey=True), PROBES, strict=True):
    curves: dict[str, dict[int, float]] = {}
    for row in results['probes']:
      if row['probe'] == probe:
        curve = curves.setdefault(row['features'], {})
        curve[row['checkpoint'] or 0] = 100 * row['test_accuracy']
    for kind, curve in curves.items():
      if kind == 'pixels':
        axis.axhline(curve[0], color='#777777', linestyle='--', label=kind)
      else:
        steps = sorted(curve)
        axis.plot(steps, [curve[step] for step in steps], '.-', label=kind)
    axis.set_xlabel('steps (0: random weights)')
  _finish(fig, 'Frozen features', results)
  return fig


def _finish(fig: mpl_figure.Figure, what: str, results: dict[str, Any]) -> None:
  """Adds chance, titles and a legend, which both charts have."""
  chance = {'color': figures_lib.CHANCE, 'linestyle': ':', 'label': 'chance'}
  for axis, title in zip(fig.axes, PROBES.values(), strict=True):
    axis.axhline(100 * results['metrics']['chance'], **chance)
    axis.set_title(title, fontsize=10)
    axis.spines[['top', 'right']].set_visible(False)
  fig.axes[0].set_ylabel('test accuracy (%)')
  fig.legend(
    *fig.axes[0].get_legend_handles_labels(),
    loc='outside lower center',
    ncols=6,
    frameon=False,
    fontsize=9,
  )
  fig.suptitle(
    f'{what}, {100 * results["label_fraction"]:.4g} % of the labels of '
    f'{results["dataset"]}',
    fontsize=10,
  )

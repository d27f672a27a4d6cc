"""What a probe tells: its protocol in words, a table, a chart."""

from typing import Any

from matplotlib import figure as mpl_figure
import ml_collections

from selfie_jax import figures as figures_lib
from selfie_jax.probes import linear_probe
from selfie_jax.probes import networks

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


def protocol(
  config: ml_collections.ConfigDict,
  run_config: ml_collections.ConfigDict,
  sizes: dict[str, int],
) -> dict[str, str]:
  """In words, what was done to which images.

  Args:
    config: the probe's.
    run_config: of the run that was probed.
    sizes: number of images of the parts 'train', 'validation' and 'test'.
  """
  side, dataset, settings = run_config.image_size, config.dataset, config.probe
  crop = run_config.augment.crop == 'random_resized'
  cut = run_config.mode == 'pretrain'
  batches = f'up to {networks.BATCHES} batches of {networks.BATCH}'
  return {
    'split': f'{dataset.name}: {sizes["train"]:,} images of '
    f'{dataset.train_split!r} to fit on and {sizes["validation"]:,} to choose '
    f'C on, class-balanced by seed, {config.label_fraction:.6g} of all; '
    f'{sizes["test"]:,} of {dataset.test_split!r} read once',
    'transform': ('the central square' if crop else 'the whole image')
    + f' at {side} x {side}, no augmentation',
    'features': 'block3: after block 3 (and the norm that closes it, where '
    'there is one) of the whole image, average pooled; block3_adapted: the '
    "same, with other batch statistics; patches: the mean of P's vectors of "
    'the patches; attention: the summary of attention pooling; block4: what '
    'the head sees; pixels: normalised as the network sees them, of images '
    'above 32 x 32 made that small',
    'batch_statistics': 'frozen running averages of the run'
    + (
      f'; these are of patches, so block3_adapted has means over {batches} '
      'whole training images instead, not augmented, with no weight changed'
      if cut
      else ''
    ),
    'random': "the weights that the run's seed began with; batch statistics "
    f'are means over {batches} training images, '
    + ('cut into patches, ' if cut else '')
    + 'not augmented, with no weight changed',
    'linear': 'logistic regression (scikit-learn, L-BFGS, at most '
    f'{settings.max_iter} steps) on features of mean 0 and deviation 1 over '
    f'the images fitted on; C of {tuple(settings.strengths)} chosen on the '
    'held-out images, from the smallest on until '
    f'{linear_probe.PATIENCE} in a row are worse; not fitted again with them',
    'knn': f'{settings.neighbours} nearest of the images fitted on by cosine '
    'of the features as they are; a vote weighs '
    f'exp(cosine / {settings.temperature:g})',
  }


def table(results: dict[str, Any]) -> list[str]:
  """Lines for the log; `results` as in results.json."""
  lines = [
    f'{results["initialised_from"]}, test accuracy '
    f'(chance {results["metrics"]["chance"]:.1%}):',
    f'{"features":<42}{"dim":>5}{"knn":>8}{"linear":>8}  C',
  ]
  for linear, knn in _pairs(results):
    notes = [f'{linear["strength"]:g}']
    if linear['is_end_of_grid']:
      notes.append('end of the grid')
    if not linear['has_converged']:
      notes.append(f'not converged in {linear["iterations"]} steps')
    lines.append(
      f'{title(linear):<42}{linear["dim"]:>5}{knn["test_accuracy"]:>8.1%}'
      f'{linear["test_accuracy"]:>8.1%}  {", ".join(notes)}'
    )
  return lines + [
    f'{key.replace("_", " ")}: {text}'
    for key, text in results['protocol'].items()
  ]


def draw(results: dict[str, Any]) -> mpl_figure.Figure:
  """Bars of the newest checkpoint's test accuracies; `results.json` given."""
  newest = results['checkpoint'], None
  chance = results['metrics']['chance']
  fig = figures_lib.figure(8, 3.6)
  axes = fig.subplots(1, 2, sharey=True)
  for axis, (probe, title) in zip(axes, PROBES.items(), strict=True):
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
    axis.axhline(
      100 * chance, color=figures_lib.CHANCE, linestyle=':', label='chance'
    )
    ticks = [kind.replace('_', '\n') for kind in kinds]
    axis.set_xticks(range(len(kinds)), ticks)
    axis.set_title(title, fontsize=10)
    axis.spines[['top', 'right']].set_visible(False)
  _finish(fig, f'Frozen features at step {results["checkpoint"]:,}', results)
  return fig


def draw_lengths(results: dict[str, Any]) -> mpl_figure.Figure:
  """Test accuracies by steps of training, the random network's at step 0.

  Args:
    results: as in results.json, of several checkpoints.
  """
  fig = figures_lib.figure(8, 3.8)
  axes = fig.subplots(1, 2, sharey=True)
  for axis, (probe, name_) in zip(axes, PROBES.items(), strict=True):
    curves: dict[str, dict[int, float]] = {}
    for row in results['probes']:
      if row['probe'] == probe:
        step = row['checkpoint'] or 0
        curve = curves.setdefault(row['features'], {})
        curve[step] = 100 * row['test_accuracy']
    pixels = curves.pop('pixels')[0]
    for kind, curve in curves.items():
      steps = sorted(curve)
      axis.plot(steps, [curve[step] for step in steps], '.-', label=kind)
    axis.axhline(pixels, color='#777777', linestyle='--', label='pixels')
    axis.axhline(
      100 * results['metrics']['chance'],
      color=figures_lib.CHANCE,
      linestyle=':',
      label='chance',
    )
    axis.set_xlabel('steps (0: random weights)')
    axis.set_title(name_, fontsize=10)
    axis.spines[['top', 'right']].set_visible(False)
  _finish(fig, 'Frozen features', results)
  return fig


def _finish(fig: mpl_figure.Figure, what: str, results: dict[str, Any]) -> None:
  """Adds what both charts have around them."""
  axes = fig.axes
  axes[0].set_ylabel('test accuracy (%)')
  fig.legend(
    *axes[0].get_legend_handles_labels(),
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


def _pairs(results: dict[str, Any]):
  """Each linear row with the row of nearest neighbours beside it."""
  rows = results['probes']
  return zip(rows[::2], rows[1::2], strict=True)

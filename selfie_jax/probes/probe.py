"""Probes: simple classifiers on features of a run, random weights, pixels."""

from collections.abc import Callable
import functools
import logging
import os
import time
from typing import Any

from matplotlib import figure as mpl_figure
import ml_collections
import numpy as np
import tqdm

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax import figures as figures_lib
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import sources
from selfie_jax.inference import model as model_lib
from selfie_jax.probes import linear_probe
from selfie_jax.probes import nearest_neighbours
from selfie_jax.probes import networks as networks_lib
from selfie_jax.storage import checksums
from selfie_jax.storage import identity as identity_lib
from selfie_jax.training import evaluation
from selfie_jax.training import results as results_lib
from selfie_jax.training import start

logger = logging.getLogger(__name__)

PIXELS = 'pixels'
PROBES = {'linear': 'linear probe', 'knn': 'nearest neighbours'}
TRAINED = 'pretrained', 'finetuned'
DARK, LIGHT = '#08519c', '#9ecae1'  # colours of trained networks, of others


def run(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> dict[str, Any]:
  """Probes the run config.init_from; returns what results.json then holds.

  Args:
    config: see `probe` in configs/common.py.
    workdir: the probe's own folder.

  Raises:
    UserError: as train_and_evaluate; or init_from is no run of a network, has
      no such checkpoint, or the data set has too few labels.
  """
  with start.open_workdir(config, workdir) as (folder, results):
    if results:
      return results
    started = time.perf_counter()
    models = [
      model_lib.load(config.init_from, config.eval_batch_size, step)
      for step in sorted(config.init_steps) or (-1,)
    ]
    newest = models[-1].step
    wanted = _choose_features(config, models[-1])
    splits, data = _open_splits(config, models[-1].config)
    identity = start.identify(config, data, folder)
    network = models[-1].variables | {'step': newest}
    identity |= {'start': checksums.name_weights(network)}
    start.save(config, data, identity, folder)
    rows = _probe_all(config, models, splits, wanted)
    metrics = {  # pretrained_block3_linear, ..., pixels_knn
      '_'.join(filter(None, [row['weights'], row['features'], row['probe']])): (
        row['test_accuracy']
      )
      for row in rows
      if row['checkpoint'] in (newest, None)
    }
    source, indices = splits['test']
    most_frequent = np.bincount(source.labels[indices]).max()
    metrics['chance'] = float(most_frequent / len(indices))
    results = results_lib.describe(config) | {
      identity_lib.KEY: identity,
      'initialised_from': config.init_from,
      'checkpoint': newest,
      'checkpoints': [model.step for model in models],
      'metrics': metrics,
      'probes': rows,
      'images': {name: len(indices) for name, (_, indices) in splits.items()},
      'wall_seconds': time.perf_counter() - started,
    }
    if distributed.is_primary():
      results_lib.save(results, {'probes': draw(results)}, folder)
  return results


def draw(results: dict[str, Any]) -> mpl_figure.Figure:
  """Bars of all test accuracies in `results`, see results.json."""
  accuracies = {k: 100 * v for k, v in results['metrics'].items()}
  chance = accuracies.pop('chance')
  fig = figures_lib.figure(8, 3.6)
  for axis, probe in zip(fig.subplots(1, 2, sharey=True), PROBES, strict=True):
    names = [name for name in accuracies if name.endswith(probe)]
    bars = axis.barh(
      [name.removesuffix(probe).replace('_', ' ') for name in names],
      [accuracies[name] for name in names],
      color=[DARK if name.startswith(TRAINED) else LIGHT for name in names],
    )
    axis.bar_label(bars, fmt='%.1f', fontsize=8, padding=2)
    axis.axvline(chance, color=figures_lib.CHANCE, linestyle=':')
    below = 'test accuracy (%); dotted: chance'
    figures_lib.label(axis, PROBES[probe], below)
  axis.invert_yaxis()  # of both
  share = f'{100 * results["label_fraction"]:.4g} %'
  title = f'Frozen features, {share} of the labels of {results["dataset"]}'
  fig.suptitle(title, fontsize=10)
  return fig


def _choose_features(
  config: ml_collections.ConfigDict, model: model_lib.Model
) -> list[str]:
  """The layers of config.probe.features, or all; UserError for others."""
  valid = [*model.layers, PIXELS]
  text = config.probe.features
  wanted = text.split(',') if text else valid
  if not set(wanted) <= set(valid):
    errors.invalid_value('probe.features', text, f'some of {",".join(valid)}')
  return wanted


def _open_splits(
  config: ml_collections.ConfigDict, run: ml_collections.ConfigDict
) -> tuple[evaluation.Splits, dict[str, Any]]:
  """The splits, read as the run reads them, and the contents of data.json."""
  reading = run.copy_and_resolve_references()
  reading.mode, reading.dataset = config.mode, config.dataset
  train, test = batches_lib.open_sources(reading)
  indices, splits = evaluation.choose_splits(config, train, test)
  if splits['test'][1] is None:
    splits['test'] = test, np.arange(test.size)
  splits = {'train': (train, indices)} | splits
  return splits, {'train': train.metadata, 'test': test.metadata}


def _probe_all(
  config: ml_collections.ConfigDict,
  models: list[model_lib.Model],
  splits: evaluation.Splits,
  wanted: list[str],
) -> list[dict[str, Any]]:
  """The rows of results.json: of each checkpoint, random weights, pixels."""
  newest, probed = models[-1], []
  if layers := [layer for layer in newest.layers if layer in wanted]:
    trained = 'pretrained' if newest.config.mode == 'pretrain' else 'finetuned'
    source, _ = splits['train']
    order = np.random.default_rng(config.seed).permutation(source.size)
    some = np.sort(order[: networks_lib.IMAGES])  # with a label or without
    random = networks_lib.initial(newest, next(source.eval_images([some])))
    networks = [(trained, model.step, model) for model in models]
    for weights, step, model in [*networks, ('random', None, random)]:
      compute = functools.partial(model.compute_batch, names=layers)
      probed.append((weights, step, layers, compute))
  if PIXELS in wanted:
    compute = functools.partial(networks_lib.pixels, newest.config)
    probed.append((None, None, [PIXELS], compute))
  rows = []
  for weights, step, names, compute in probed:
    title = weights or PIXELS
    features = {
      split: _compute(compute, *which, newest.batch_size, f'{title}, {split}')
      for split, which in splits.items()
    }
    for name in names:
      row = {'weights': weights, 'checkpoint': step, 'features': name}
      examples = {
        split: (features[split][name], source.labels[indices])
        for split, (source, indices) in splits.items()
      }
      rows += _probe(config.probe, row, examples)
  return rows


def _compute(
  compute: Callable[[np.ndarray], dict[str, np.ndarray]],
  source: sources.Source,
  indices: np.ndarray,
  batch_size: int,
  title: str,
) -> dict[str, np.ndarray]:
  """Features of these images by name: float32 [n, dim]."""
  batches = range(0, len(indices), batch_size)
  bar = tqdm.tqdm(
    source.eval_images(indices[i : i + batch_size] for i in batches),
    desc=title,
    total=len(batches),
    dynamic_ncols=True,
    disable=None if distributed.is_primary() else True,
  )
  rows = [compute(images) for images in bar]
  features = {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}
  for name, values in features.items():
    if not np.isfinite(values).all():
      raise errors.UserError(
        f'the features {name} ({title}) are not finite; probe another '
        'checkpoint: --config.init_steps=(STEP,)'
      )
  return features


def _probe(
  settings: ml_collections.ConfigDict,
  row: dict[str, Any],
  examples: dict[str, linear_probe.Examples],
) -> list[dict[str, Any]]:
  """The rows of both probes, each of which begins with `row`."""
  row |= {'dim': examples['train'][0].shape[1]}
  linear = {'probe': 'linear'} | linear_probe.evaluate(
    **examples, strengths=settings.strengths, max_iter=settings.max_iter
  )
  knn: dict[str, Any] = {'probe': 'knn'}
  for split in ('test', 'validation'):
    pair = examples['train'], examples[split]
    knn[f'{split}_accuracy'] = nearest_neighbours.accuracy(
      *pair, settings.neighbours, settings.temperature
    )
  title = ' '.join(filter(None, [row['weights'], row['features']]))
  if row['checkpoint']:
    title += f' at step {row["checkpoint"]:,}'
  logger.info(
    '%s: linear probe %.1f %%, nearest neighbours %.1f %% (C=%g%s%s)',
    title,
    100 * linear['test_accuracy'],
    100 * knn['test_accuracy'],
    linear['strength'],
    ', the end of the grid' if linear['is_end_of_grid'] else '',
    '' if linear['has_converged'] else ', not converged',
  )
  return [row | linear, row | knn]

"""The probes: what simple classifiers read off the frozen features of a run.

On the network of config.init_from, on it before its first step, on the pixels.
"""

from collections.abc import Iterator
import functools
import logging
import os
import time
from typing import Any

from etils import epath
import ml_collections
import numpy as np
import tqdm

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.probes import linear_probe
from selfie_jax.probes import nearest_neighbours
from selfie_jax.probes import networks as networks_lib
from selfie_jax.probes import report
from selfie_jax.storage import run_metadata
from selfie_jax.training import evaluation
from selfie_jax.training import job
from selfie_jax.training import results as results_lib

logger = logging.getLogger(__name__)

ADAPTED = 'block3_adapted'  # with batch statistics of whole images
PIXELS = 'pixels'


def run(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> dict[str, Any]:
  """Probes the run config.init_from and writes the results into `workdir`.

  Args:
    config: see `probe` in configs/common.py.
    workdir: the probe's own folder.

  Returns:
    What its results.json holds.

  Raises:
    UserError: as train_and_evaluate; or init_from is no run of a network, has
      no such checkpoint, or the data set has too few labels.
  """
  if results := job.finished(config, workdir):
    return results
  with job.claim(workdir) as folder:
    return _run(config, folder)


def _run(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> dict[str, Any]:
  begun = time.perf_counter()
  models = [
    model_lib.load(config.init_from, config.eval_batch_size, step)
    for step in sorted(config.init_steps) or (-1,)
  ]
  newest = models[-1]
  wanted = _choose_features(config, newest)
  splits, data = _open(config, newest)
  run_metadata.check_data(data, workdir)
  run_metadata.save(config, data, workdir)
  labels = {
    split: source.labels[indices] for split, (source, indices) in splits.items()
  }
  rows = []
  for row, features in _features(config, models, splits, wanted):
    logger.info('Probing %s', report.title(row))
    examples = {split: (features[split], labels[split]) for split in splits}
    rows += _probe(config, row, examples)
  metrics = {
    report.name(row): row['test_accuracy']
    for row in rows
    if row['checkpoint'] in (newest.step, None)
  }
  most_frequent = np.bincount(labels['test']).max()
  metrics['chance'] = float(most_frequent / len(labels['test']))
  results = results_lib.describe(config) | {
    'initialised_from': config.init_from,
    'checkpoint': newest.step,
    'checkpoints': [model.step for model in models],
    'metrics': metrics,
    'probes': rows,
    'images': {split: len(labels[split]) for split in splits},
    'wall_seconds': time.perf_counter() - begun,
  }
  if distributed.is_primary():
    figures = {'probes': report.draw(results)}
    if len(models) > 1:
      figures['lengths'] = report.draw_lengths(results)
    for line in report.table(results):
      logger.info('%s', line)
    results_lib.save(results, figures, workdir)
  return results


def _choose_features(
  config: ml_collections.ConfigDict, model: model_lib.Model
) -> list[str]:
  """The names that were asked for, or all; UserError for one there is not."""
  valid = [*model.layers]
  if model.config.mode == 'pretrain':
    valid.append(ADAPTED)
  valid.append(PIXELS)
  text = config.probe.features
  wanted = text.split(',') if text else valid
  if not set(wanted) <= set(valid):
    errors.invalid_value('probe.features', text, f'some of {",".join(valid)}')
  return wanted


def _open(
  config: ml_collections.ConfigDict, model: model_lib.Model
) -> tuple[evaluation.Splits, dict[str, Any]]:
  """The splits, read as the run reads them; and what data.json says of them."""
  reading = model.config.copy_and_resolve_references()
  reading.mode, reading.dataset = config.mode, config.dataset
  train, test = batches_lib.open_sources(reading)
  indices, splits = evaluation.choose_splits(config, train, test)
  if 'validation' not in splits:
    raise errors.UserError(
      f'label_fraction={config.label_fraction} leaves no image to choose C on; '
      'give a larger one, or a larger --config.validation_fraction'
    )
  if splits['test'][1] is None:
    splits['test'] = test, np.arange(test.size)
  splits = {'train': (train, indices)} | splits
  return splits, {'train': train.metadata, 'test': test.metadata}


def _features(
  config: ml_collections.ConfigDict,
  models: list[model_lib.Model],
  splits: evaluation.Splits,
  wanted: list[str],
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
  """What begins a row of results.json, and the features of each split [n, dim].

  The pixels and the random network are the same for all of the `models`.
  """
  run, batch_size = models[-1].config, models[-1].batch_size
  trained = 'pretrained' if run.mode == 'pretrain' else 'finetuned'
  images = _some_images(config, splits['train'][0])
  networks = [(trained, model.step, model) for model in models]
  initial = networks_lib.initial(models[-1], images)
  layers = [layer for layer in models[-1].layers if layer in wanted]
  for weights, step, network in [*networks, ('random', None, initial)]:
    row = {'weights': weights, 'checkpoint': step}
    if layers:
      compute = functools.partial(network.compute_batch, names=layers)
      features = _compute(compute, splits, batch_size, weights)
      for layer in layers:
        yield row | {'features': layer}, features[layer]
    if ADAPTED in wanted:
      adapted = networks_lib.with_statistics(network, images, False)
      compute = functools.partial(adapted.compute_batch, names=('block3',))
      features = _compute(compute, splits, batch_size, weights)
      yield row | {'features': ADAPTED}, features['block3']
  if PIXELS in wanted:
    compute = functools.partial(networks_lib.pixels, run)
    features = _compute(compute, splits, batch_size, PIXELS)
    row = {'weights': None, 'checkpoint': None}
    yield row | {'features': PIXELS}, features[PIXELS]


def _some_images(config: ml_collections.ConfigDict, source) -> np.ndarray:
  """Training images, with a label or without, for batch statistics."""
  order = np.random.default_rng(config.seed).permutation(source.size)
  count = networks_lib.BATCHES * networks_lib.BATCH
  return next(source.eval_images([np.sort(order[:count])]))


def _compute(
  compute, splits: evaluation.Splits, batch_size: int, title: str
) -> dict[str, dict[str, np.ndarray]]:
  """What `compute` makes of the images: by name, by split, [n, ...]."""
  features: dict[str, dict[str, np.ndarray]] = {}
  with tqdm.tqdm(
    total=sum(len(indices) for _, indices in splits.values()),
    desc=title,
    unit='image',
    dynamic_ncols=True,
    disable=None if distributed.is_primary() else True,
  ) as bar:
    for split, (source, indices) in splits.items():
      rows = []
      for images in source.eval_images(
        indices[i : i + batch_size] for i in range(0, len(indices), batch_size)
      ):
        rows.append(compute(images))
        bar.update(len(images))
      for name in rows[0]:
        values = np.concatenate([row[name] for row in rows])
        if not np.isfinite(values).all():
          raise errors.UserError(
            f'the features {name} ({title}) are not finite; probe another '
            'checkpoint: --config.init_steps=(STEP,)'
          )
        features.setdefault(name, {})[split] = values
  return features


def _probe(
  config: ml_collections.ConfigDict,
  row: dict[str, Any],
  examples: dict[str, tuple[np.ndarray, np.ndarray]],
) -> list[dict[str, Any]]:
  """The rows of both probes on one kind of features, for results.json."""
  settings = config.probe
  row = row | {'dim': examples['train'][0].shape[1]}
  linear = linear_probe.fit(
    examples['train'],
    examples['validation'],
    settings.strengths,
    settings.max_iter,
  )
  neighbours = functools.partial(
    nearest_neighbours.accuracy,
    examples['train'],
    count=settings.neighbours,
    temperature=settings.temperature,
  )
  return [
    row
    | {
      'probe': 'linear',
      'test_accuracy': linear.accuracy(*examples['test']),
      'validation_accuracy': linear.validation_accuracy,
      'strength': linear.strength,
      'is_end_of_grid': len(settings.strengths) > 1
      and linear.strength in (min(settings.strengths), max(settings.strengths)),
      'iterations': linear.iterations,
      'has_converged': linear.has_converged,
    },
    row
    | {
      'probe': 'knn',
      'test_accuracy': neighbours(examples['test']),
      'validation_accuracy': neighbours(examples['validation']),
    },
  ]

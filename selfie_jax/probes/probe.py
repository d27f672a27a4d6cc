"""The probes: what simple classifiers read off the frozen features of a run.

On the network of config.init_from, on it before its first step, on the pixels.
"""

from collections.abc import Iterator
import functools
import logging
import os
import sys
import time
from typing import Any

from etils import epath
import ml_collections
import numpy as np
import tqdm

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import input_pipeline
from selfie_jax.inference import model as model_lib
from selfie_jax.probes import linear_probe
from selfie_jax.probes import nearest_neighbours
from selfie_jax.probes import networks as networks_lib
from selfie_jax.probes import report
from selfie_jax.storage import saved_job
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import evaluation
from selfie_jax.training import job
from selfie_jax.training import results as results_lib

logger = logging.getLogger(__name__)

ADAPTED = 'block3_adapted'  # with batch statistics of whole images
PARTS = ('train', 'validation', 'test')


def run(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> dict[str, Any]:
  """Probes the run config.init_from and writes down in `workdir` what is found.

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
  parts, facts = _open(config, newest)
  saved_job.check_data(facts, workdir)
  if distributed.is_primary():
    saved_job.save_config(config, workdir)
    saved_job.save_data(facts, workdir)
  labels = {
    part: source.labels[indices] for part, (source, indices) in parts.items()
  }
  rows = []
  for row, features in _features(config, models, parts):
    logger.info('Probing %s', report.title(row))
    data = {part: (features[part], labels[part]) for part in PARTS}
    rows += _probe(config, row, data)
  results = {
    'mode': config.mode,
    'dataset': config_lib.name_data(config),
    'initialised_from': config.init_from,
    'checkpoint': newest.step,
    'checkpoints': [model.step for model in models],
    'seed': config.seed,
    'label_fraction': config.label_fraction,
    'metrics': {
      report.name(row): row['test_accuracy']
      for row in rows
      if row['checkpoint'] in (newest.step, None)
    }
    | {
      'chance': float(np.bincount(labels['test']).max() / len(labels['test']))
    },
    'probes': rows,
    'images': {part: len(labels[part]) for part in PARTS},
    'wall_seconds': time.perf_counter() - begun,
  } | results_lib.environment()
  if distributed.is_primary():
    _write(results, workdir)
  return results


def _open(
  config: ml_collections.ConfigDict, model: model_lib.Model
) -> tuple[evaluation.Parts, dict[str, Any]]:
  """The parts of the data, read as the run reads them; and what they are."""
  reading = model.config.copy_and_resolve_references()
  reading.mode, reading.dataset = config.mode, config.dataset
  train, test = input_pipeline.open_sources(reading, distributed.from_primary)
  indices, parts = evaluation.choose_parts(config, train, test)
  if 'validation' not in parts:
    raise errors.UserError(
      f'label_fraction={config.label_fraction} leaves no image to choose C on; '
      'give a larger one, or a larger --config.validation_fraction'
    )
  if parts['test'][1] is None:
    parts['test'] = test, np.arange(test.size)
  parts = {'train': (train, indices)} | parts
  return parts, {'train': train.facts, 'test': test.facts}


def _features(
  config: ml_collections.ConfigDict,
  models: list[model_lib.Model],
  parts: evaluation.Parts,
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
  """What begins a row of results.json, and the features of each part [n, dim].

  The pixels and the random network are the same for all of the `models`.
  """
  run = models[-1].config
  trained = 'pretrained' if run.mode == 'pretrain' else 'finetuned'
  images = _some_images(config, parts['train'][0])
  networks = [(trained, model.step, model) for model in models]
  initial = networks_lib.initial(models[-1], images)
  for weights, step, network in [*networks, ('random', None, initial)]:
    row = {'weights': weights, 'checkpoint': step}
    compute = functools.partial(network.compute_batch, names=network.layers)
    found = _compute(compute, parts, network.batch_size, weights)
    for layer in network.layers:
      yield row | {'features': layer}, found.pop(layer)
    if run.mode == 'pretrain':
      adapted = networks_lib.with_statistics(network, images, False)
      compute = functools.partial(adapted.compute_batch, names=('block3',))
      found = _compute(compute, parts, network.batch_size, weights)
      yield row | {'features': ADAPTED}, found['block3']
  compute = functools.partial(networks_lib.pixels, run)
  found = _compute(compute, parts, models[-1].batch_size, 'pixels')
  row = {'weights': None, 'checkpoint': None}
  yield row | {'features': 'pixels'}, found['pixels']


def _some_images(config: ml_collections.ConfigDict, source) -> np.ndarray:
  """Training images, with a label or without, for batch statistics."""
  order = np.random.default_rng(config.seed).permutation(source.size)
  count = networks_lib.BATCHES * networks_lib.BATCH
  return next(source.eval_images([np.sort(order[:count])]))


def _compute(
  compute, parts: evaluation.Parts, batch_size: int, title: str
) -> dict[str, dict[str, np.ndarray]]:
  """What `compute` makes of the images: by name, by part, [n, ...]."""
  total = sum(len(indices) for _, indices in parts.values())
  found: dict[str, dict[str, np.ndarray]] = {}
  with tqdm.tqdm(
    total=total,
    desc=title,
    unit='image',
    dynamic_ncols=True,
    disable=not (sys.stderr.isatty() and distributed.is_primary()),
  ) as bar:
    for part, (source, indices) in parts.items():
      batches = source.eval_images(
        indices[i : i + batch_size] for i in range(0, len(indices), batch_size)
      )
      rows = []
      for images in batches:
        rows.append(compute(images))
        bar.update(len(images))
      for name in rows[0]:
        values = np.concatenate([row[name] for row in rows])
        if not np.isfinite(values).all():
          raise errors.UserError(
            f'the features {name} ({title}) are not finite; probe another '
            'checkpoint: --config.init_steps=(STEP,)'
          )
        found.setdefault(name, {})[part] = values
  return found


def _probe(
  config: ml_collections.ConfigDict,
  row: dict[str, Any],
  data: dict[str, tuple[np.ndarray, np.ndarray]],
) -> list[dict[str, Any]]:
  """The rows of both probes on one kind of features, for results.json."""
  settings = config.probe
  row = row | {'dim': data['train'][0].shape[1]}
  linear = linear_probe.fit(
    data['train'], data['validation'], settings.strengths, settings.max_iter
  )
  neighbours = functools.partial(
    nearest_neighbours.accuracy,
    data['train'],
    count=settings.neighbours,
    temperature=settings.temperature,
  )
  return [
    row
    | {
      'probe': 'linear',
      'test_accuracy': linear.accuracy(*data['test']),
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
      'test_accuracy': neighbours(data['test']),
      'validation_accuracy': neighbours(data['validation']),
    },
  ]


def _write(results: dict[str, Any], workdir: epath.Path) -> None:
  """The files of the run's folder, and the table in the log."""
  folder, path = workdir / 'figures', workdir / 'results.json'
  figures = {'probes': report.draw(results)}
  if len(results['checkpoints']) > 1:
    figures['lengths'] = report.draw_lengths(results)
  results_lib.save_figures(figures, folder)
  workdir_lib.write_json(path, results)
  for line in report.table(results):
    logger.info('%s', line)
  logger.info('Results: %s  Pictures: %s', path, folder)

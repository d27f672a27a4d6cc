"""The end of a run: figures/, history.json and results.json."""

import importlib.metadata
import logging
import math
import platform
from typing import Any

from etils import epath
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax.storage import checksums
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import train_state
from selfie_jax.training import reporting

logger = logging.getLogger(__name__)

YOUNG = 200  # steps after the warm-up in which a run may still guess
MARGIN = 0.01  # a loss this share below a guess's is better than guessing


def write(
  config: ml_collections.ConfigDict,
  workdir: epath.Path,
  reporter: reporting.Reporter,
  metrics: dict[str, Any],
  arrays: dict[str, Any],
  state: train_state.TrainState,
) -> dict[str, Any]:
  """Writes figures and results.json of a training; returns the results.

  Metrics are of `state`, which was tested, and arrays are to be drawn: see
  tasks.pretrain.summary.
  """
  results = describe(config) | {
    identity_lib.KEY: reporter.identity,
    'step': config.total_steps,
    'total_steps': config.total_steps,
    'checkpoint': int(state.step),
    'weights': checksums.digest(state.variables),
    'initialised_from': (config.mode == 'finetune' and config.init_from)
    or None,
    'metrics': metrics,
    'at_chance': is_at_chance(config, reporter.history),
    'images_per_second': reporter.throughput.images_per_second,
    'wall_seconds': reporter.throughput.progress['wall_seconds'],
    'utilisation': reporter.throughput.summary,
  }
  if distributed.is_primary():
    from selfie_jax import figures as figures_lib  # loads matplotlib

    logger.info('Finished: %s', reporting.line(metrics))
    figures = {'curves': figures_lib.curves(reporter.history)}
    if arrays:
      figures['patches'] = figures_lib.patch_puzzle(
        **arrays, patch_size=config.patch_size
      )
    reporter.write_figures(figures)
    reporter.write_history()
    save(results, figures, workdir)
  return results


def describe(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What the results of every job say of it, and of what it is computed on."""
  device = jax.local_devices()[0]
  packages = ('jax', 'jaxlib', 'flax', 'optax', 'scikit-learn')
  return {
    'mode': config.mode,
    'dataset': config_lib.name_data(config),
    'seed': config.seed,
    'label_fraction': config.label_fraction,
    'devices': {
      'platform': device.platform,
      'kind': device.device_kind,
      'count': jax.device_count(),
      'processes': jax.process_count(),
    },
    'versions': {'python': platform.python_version()}
    | {name: importlib.metadata.version(name) for name in packages},
  }


def save(
  results: dict[str, Any],
  figures: dict[str, Any],
  workdir: epath.Path,
) -> None:
  """Writes figures/NAME.png (matplotlib's) and results.json, in one process."""
  folder, path = workdir / 'figures', workdir / 'results.json'
  with workdir_lib.writing(folder):
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
      with (folder / f'{name}.png').open('wb') as file:
        figure.savefig(file, format='png')
  workdir_lib.write_json(path, results)
  logger.info('Results: %s  Pictures: %s', path, folder)


def is_at_chance(
  config: ml_collections.ConfigDict, history: list[dict[str, Any]]
) -> bool | None:
  """Whether a pretraining still guesses: in its newest evaluation and training.

  The losses are then those of a guess, -log(chance), or more. None for a run
  that is too young to say, and for finetuning.
  """
  newest = {row['part'] == 'train': row for row in history if 'chance' in row}
  youngest = config.optimizer.warmup_steps + YOUNG
  if len(newest) < 2 or newest[False]['step'] < youngest:
    return None
  return all(
    row['loss'] >= (1 - MARGIN) * -math.log(row['chance'])
    for row in newest.values()
  )


def warn_at_chance(
  config: ml_collections.ConfigDict, history: list[dict[str, Any]]
) -> None:
  """Warns if the newest row is the first evaluation that is at chance."""
  if 'chance' not in history[-1]:
    return
  *before, newest = (
    is_at_chance(config, history[: i + 1])
    for i, row in enumerate(history)
    if row['part'] != 'train' and 'chance' in row
  )
  if newest and not any(before):
    logger.warning(
      'Step %d: no better than guessing yet (%s loss %.4g, that of a guess '
      '%.4g). See docs/own_images.md. Train on whole pictures: in crops of '
      'textures or pictures from above, no patch has a place of its own. Else '
      'try another rate, such as --config.optimizer.learning_rate=%g',
      history[-1]['step'],
      history[-1]['part'],
      history[-1]['loss'],
      -math.log(history[-1]['chance']),
      config.optimizer.learning_rate / 10,
    )

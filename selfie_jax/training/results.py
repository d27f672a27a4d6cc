"""The end of a run: figures/, history.json and results.json."""

import importlib.metadata
import logging
import platform
from typing import Any

from etils import epath
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax.storage import checksums
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import train_state
from selfie_jax.training import reporting

logger = logging.getLogger(__name__)


def write(
  config: ml_collections.ConfigDict,
  workdir: epath.Path,
  reporter: reporting.Reporter,
  metrics: dict[str, Any],
  figures: dict[str, Any],
  state: train_state.TrainState,
  at_chance: bool | None = None,
) -> dict[str, Any]:
  """Writes what is left to write of a training; returns its results.

  Args:
    config: the job.
    workdir: the run's folder.
    reporter: has the history and the times.
    metrics: of the job's end.
    figures: matplotlib's, by name.
    state: that the metrics are of.
    at_chance: whether the last evaluation was no better than guessing; None if
      the run was too short to say.
  """
  results = describe(config) | {
    'step': config.total_steps,
    'total_steps': config.total_steps,
    'checkpoint': int(state.step),
    'weights': checksums.digest(jax.device_get(state.variables)),
    'initialised_from': (config.mode == 'finetune' and config.init_from)
    or None,
    'metrics': metrics,
    'at_chance': at_chance,
    'images_per_second': reporter.images_per_second,
    'wall_seconds': reporter.wall_seconds,
    'utilisation': reporter.meter.summary,
  }
  if distributed.is_primary():
    logger.info('Finished: %s', reporting.line(metrics))
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
  """Writes figures/NAME.png (matplotlib's) and results.json, in one process.

  Raises:
    UserError: they cannot be written.
  """
  folder, path = workdir / 'figures', workdir / 'results.json'
  with workdir_lib.writing(folder):
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
      with (folder / f'{name}.png').open('wb') as file:
        figure.savefig(file, format='png')
  workdir_lib.write_json(path, results)
  logger.info('Results: %s  Pictures: %s', path, folder)

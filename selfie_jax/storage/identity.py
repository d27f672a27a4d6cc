"""Which run something is of: run.json, with a copy in all that the run saves.

An identity has up to three entries: 'config', a digest of the fields that
decide the run's numbers; 'data', one of data.json; and 'start', which weights
it began with. Where one of two lacks an entry (earlier versions wrote none), it
is not compared.
"""

import contextlib
import hashlib
import json
from typing import Any

from etils import epath
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

FILE = 'run.json'
KEY = 'identity'  # in a checkpoint's progress, and in results.json

Identity = dict[str, str]


def identify(
  config: ml_collections.ConfigDict,
  workdir: epath.Path,
  data: run_metadata.Data | None = None,
) -> Identity:
  """The identity of a job in its folder, as far as it is known so far.

  Args:
    config: the job's.
    workdir: its folder, which fits as far as config.json and data.json say.
    data: what data.json is to say; None before the data has been read.

  Raises:
    UserError: run.json is damaged, or of another run.
  """
  identity = {
    'config': _digest(run_metadata.deciding_fields(config_lib.flatten(config)))
  }
  # What was written first counts: a later version may have more to say.
  if data := run_metadata.load_data(workdir) or data:
    identity['data'] = _digest(data)
  path = workdir / FILE
  remedy = f'put back its copy, or {run_metadata.NEW_RUN}'
  saved = workdir_lib.read_json(path, remedy) or {}
  check(identity, saved, path)
  return saved | identity


def read(workdir: epath.Path) -> Identity:
  """The identity of the run in a folder; {} without a config.json.

  Raises:
    UserError: config.json, data.json or run.json is damaged, or of another run.
  """
  config = run_metadata.load_config(workdir)
  return {} if config is None else identify(config, workdir)


def check(ours: Identity, saved: Identity, path: epath.Path) -> None:
  """Raises UserError if what was saved in `path` is of another run."""
  changed = [
    name for name in sorted(ours.keys() & saved) if ours[name] != saved[name]
  ]
  if changed:
    raise errors.UserError(
      f'{path} is of a run with another {" and another ".join(changed)}. Put '
      "back this run's own files, type the command of that run, or "
      f'{run_metadata.NEW_RUN}'
    )


def check_saved(
  ours: Identity,
  saved: dict[str, Any],
  path: epath.Path,
  workdir: epath.Path,
) -> Identity:
  """Compares what was saved with results or in a checkpoint's progress.

  Args:
    ours: the run's identity.
    saved: the results or the progress.
    path: where they are, for the message.
    workdir: the run's folder.

  Returns:
    Both identities together.

  Raises:
    UserError: it is of another run; or it does not say, and there is no
      config.json that does.
  """
  identity = saved.get(KEY)
  if identity is None and not (workdir / 'config.json').exists():
    raise errors.UserError(
      f'{path} does not say of which run it is, and config.json is missing; '
      f'put back its copy, or {run_metadata.NEW_RUN}'
    )
  check(ours, identity or {}, path)
  return (identity or {}) | ours


def check_best(ours: Identity, manager, history: list[dict[str, Any]]) -> None:
  """Raises UserError if the checkpoint to be tested so far is another run's."""
  best = checkpoints.best_step(history)
  if best is None or best not in checkpoints.saved_steps(manager):
    return
  progress: dict[str, Any] = {}
  # If it cannot be read, a later one may be better yet.
  with contextlib.suppress(errors.UserError):
    *_, progress = checksums.newest_valid(
      manager.directory, [best], 'put back its copy', ('step',)
    )
  check(ours, progress.get(KEY, {}), manager.directory / str(best))


def describe_start(variables: dict[str, Any] | None) -> str:
  """Names the weights that a run begins with; `variables` as restored."""
  if variables is None:
    return 'random'
  names = ('params', 'batch_stats')
  weights = jax.device_get({name: variables[name] for name in names})
  step = f'step {int(variables["step"])}, ' if 'step' in variables else ''
  return f'{step}weights {checksums.digest(weights)}'


def save(identity: Identity, workdir: epath.Path) -> None:
  """Writes run.json."""
  workdir_lib.write_json(workdir / FILE, identity)


def _digest(value: Any) -> str:
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]

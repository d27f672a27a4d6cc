"""What a run's folder says of its job: config.json, data.json, results.json.

Written when a run starts (results.json when it ends), compared when it resumes.
storage/identity.py has the short form, of which checkpoints have a copy.
"""

from collections.abc import Sequence
import json
from typing import Any

from etils import epath
from flax import traverse_util
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import workdir as workdir_lib

# The fields that may change when a run is started again; all others decide its
# numbers. With a validation split, eval_every does too: it decides which steps
# can be tested.
RUNTIME_FIELDS = (
  'log_every', 'eval_every', 'checkpoint_every', 'keep_checkpoints',
  'profile_steps', 'eval_batch_size', 'dataset.data_dir', 'dataset.path',
  'dataset.download', 'dataset.cache_gib', 'dataset.read_ahead',
  'dataset.max_unreadable', 'knn.every', 'knn.images', 'knn.neighbours',
  'knn.temperature',
)  # fmt: skip

FAILURE = 'failure.json'  # of a run's last attempt, for experiments

# Where things are on one machine; no number depends on them.
MACHINE_FIELDS = ('init_from', 'dataset.data_dir', 'dataset.path')

# Fields that were added, with the value that does what runs did before.
DEFAULTS_FOR_OLD_RUNS: dict[str, Any] = {
  'profile_steps': 0,
  'dataset.read_ahead': 4096,
  'dataset.shuffle_block': 1,
  'probe.features': '',
}

# Fields that were removed, with the only value that does what runs do now. This
# version cannot use a run that was saved with another value.
RETIRED_FIELDS: dict[str, Any] = {
  'optimizer.skip_nonfinite': 0,
  'puzzle.query': 'sum',
  'puzzle.gap': 0,
  'puzzle.colour_factor': 0.0,
  'puzzle.colour_shift': 0.0,
  'puzzle.greyscale': 0.0,
  'puzzle.group': 1,
}

_NEUTRAL, _ABSENT = DEFAULTS_FOR_OLD_RUNS | RETIRED_FIELDS, 'not there'

# Describes the images of 'train' and 'test': their number, classes, ...
Data = dict[str, dict[str, Any]]
NEW_RUN = 'start a new run with --workdir=SOMEWHERE_ELSE'
_REMEDIES = {  # for a damaged file, beside a new run
  'config.json': 'put back its copy',
  'data.json': 'delete it if the data is unchanged',
  'run.json': 'put back its copy',
  'results.json': 'delete it and type the same command again',
}


def save(
  config: ml_collections.ConfigDict, data: Data, workdir: epath.Path
) -> None:
  """Writes config.json; data.json too, if there is none yet."""
  text = json.dumps(config.to_dict(), indent=2, sort_keys=True)
  workdir_lib.write(workdir / 'config.json', text + '\n')
  if load(workdir, 'data.json') is None:
    workdir_lib.write_json(workdir / 'data.json', data)


def load(workdir: epath.Path, name: str) -> dict[str, Any] | None:
  """What one of a run's files holds; None without it; UserError if damaged."""
  remedy = f'{_REMEDIES[name]}, or {NEW_RUN}'
  return workdir_lib.read_json(workdir / name, remedy)


def note_failure(workdir: str | epath.Path, code: int, line: str) -> None:
  """Writes failure.json: with which exit code an attempt ended, and why."""
  folder = epath.Path(workdir)
  workdir_lib.make(folder)
  workdir_lib.write_json(folder / FAILURE, {'code': code, 'line': line})


def load_config(workdir: epath.Path) -> ml_collections.ConfigDict | None:
  """A run's config, with the fields of today's jobs; None if there is no run.

  Raises:
    UserError: config.json is damaged, or has fields that this version lacks.
  """
  saved = load(workdir, 'config.json')
  if saved is None:
    return None
  if saved.get('mode') not in config_lib.MODES:
    raise errors.UserError(
      f'{workdir}/config.json is damaged: it has no valid mode'
    )
  return _update_fields(saved, workdir)


def load_class_names(workdir: epath.Path) -> list[str] | None:
  """The classes that data.json names; None without that file."""
  data = load(workdir, 'data.json')
  return data['train']['classes'] if data else None


def check_config(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> None:
  """Raises UserError, which names the fields, if a run's saved config differs.

  Fields that change no number may differ.
  """
  saved = load_config(workdir)
  if saved is None:
    return
  changed = differences(config_lib.flatten(saved), config_lib.flatten(config))
  if changed:
    named = [f'{field} ({a} -> {b})' for field, (a, b) in changed.items()]
    raise errors.UserError(
      f'{workdir} holds a run with another config: {", ".join(named)}. '
      f'Give these fields their old values to continue it, or {NEW_RUN}'
    )


def check_data(data: Data, workdir: epath.Path) -> None:
  """Raises UserError if a run was started on other images; says which differ.

  What `data` lacks, of the images that the job has now, is not compared.
  """
  saved = load(workdir, 'data.json') or {}
  if changed := data_differences(saved, data):
    named = [
      f'{name} ({str(old)[:200]} -> {str(new)[:200]})'
      for name, (old, new) in changed.items()
    ]
    raise errors.UserError(
      f'{workdir} holds a run on other data: {", ".join(named)}. Put the '
      f'files back to continue it, or {NEW_RUN}'
    )


def data_differences(old: Data, new: Data) -> dict[str, tuple[Any, Any]]:
  """{'train images': (old, new value)}, of what both say of their images."""
  return {
    f'{split} {name}': (value, new[split][name])
    for split in sorted(old.keys() & new.keys())
    for name, value in old[split].items()
    if name in new[split] and new[split][name] != value
  }


def differences(
  old: dict[str, Any], new: dict[str, Any], but: Sequence[str] = ()
) -> dict[str, tuple[Any, Any]]:
  """{field: (old, new value)} where two flat configs make other numbers.

  A missing field counts as DEFAULTS_FOR_OLD_RUNS or RETIRED_FIELDS says.

  Args:
    old: of a saved config, see `flatten`.
    new: of a job.
    but: more fields to leave out, beside RUNTIME_FIELDS.
  """
  if old['mode'] != new['mode']:
    return {'mode': (old['mode'], new['mode'])}
  changed = {}
  for field in {*deciding_fields(old), *deciding_fields(new)}.difference(but):
    absent = _NEUTRAL.get(field, _ABSENT)
    pair = old.get(field, absent), new.get(field, absent)
    if pair[0] != pair[1]:
      changed[field] = pair
  return dict(sorted(changed.items()))


def deciding_fields(flat: dict[str, Any]) -> dict[str, Any]:
  """Those fields of a flat config that decide a run's numbers.

  Without those that were added or removed, at the value that changes nothing.
  """
  runtime = {*RUNTIME_FIELDS}
  if flat.get('validation_fraction'):
    runtime -= {'eval_every'}
  return {
    field: value
    for field, value in flat.items()
    if field not in runtime and _NEUTRAL.get(field, _ABSENT) != value
  }


def _update_fields(saved: dict[str, Any], workdir: epath.Path):
  """A saved config with the fields of today's jobs."""
  flat = {
    field: value
    for field, value in config_lib.flatten(saved).items()
    if RETIRED_FIELDS.get(field, _ABSENT) != value
  }
  unknown = [
    f'{field}={value}'
    for field, value in flat.items()
    if field not in config_lib.FIELDS
  ]
  if unknown:
    raise errors.UserError(
      f'{workdir} holds a run with {", ".join(unknown)}, which this version of '
      'selfie_jax does not have: use the version that made it, or another run'
    )
  groups = {field.rpartition('.')[0] for field in flat}
  added = {
    field: value
    for field, value in DEFAULTS_FOR_OLD_RUNS.items()
    if field.rpartition('.')[0] in groups
  }
  return ml_collections.ConfigDict(
    traverse_util.unflatten_dict(added | flat, sep='.')
  )

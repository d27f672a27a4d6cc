"""What a run's folder says of its job: config.json, data.json, results.json.

Written when a run starts (results.json when it ends), compared when it goes on.
"""

import json
from typing import Any

from etils import epath
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import workdir as workdir_lib

# What the images of 'train' and 'test' are: their number, classes, ...
Data = dict[str, dict[str, Any]]
_NEW_RUN = 'start a new run with --workdir=SOMEWHERE_ELSE'
_MODE_OF = {'puzzle': 'pretrain', 'probe': 'probe'}  # groups of one mode


def save(
  config: ml_collections.ConfigDict, data: Data, workdir: epath.Path
) -> None:
  """Has one process write config.json and data.json."""
  if distributed.is_primary():
    text = json.dumps(config.to_dict(), indent=2, sort_keys=True)
    workdir_lib.write(workdir / 'config.json', text + '\n')
    workdir_lib.write_json(workdir / 'data.json', data)


def load_config(workdir: epath.Path) -> ml_collections.ConfigDict | None:
  """The config that a run was started with; None if there is no run.

  Of an earlier version's it has the fields that came later, too.

  Raises:
    UserError: config.json is damaged.
  """
  saved = workdir_lib.read_json(
    workdir / 'config.json', f'put back its copy, or {_NEW_RUN}'
  )
  if saved is None:
    return None
  if not saved or saved.get('mode') not in config_lib.MODES:
    raise errors.UserError(
      f'{workdir}/config.json is damaged: it has no valid mode'
    )
  return ml_collections.ConfigDict(_complete(saved))


def load_results(workdir: epath.Path) -> dict[str, Any] | None:
  """What results.json holds; None before the end of the run.

  Raises:
    UserError: results.json is damaged.
  """
  return workdir_lib.read_json(
    workdir / 'results.json',
    f'delete it and type the same command again, or {_NEW_RUN}',
  )


def load_class_names(workdir: epath.Path) -> list[str] | None:
  """The classes that data.json names; None without that file."""
  data = _load_data(workdir)
  return data and data['train']['classes']


def check_config(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> None:
  """Refuses to go on with a run whose saved config makes other numbers.

  Raises:
    UserError: fields differ; they are named.
  """
  saved = load_config(workdir)
  if saved is None:
    return
  changed = config_lib.differences(
    config_lib.flatten(saved), config_lib.flatten(config)
  )
  if changed:
    named = [f'{field} ({a} -> {b})' for field, (a, b) in changed.items()]
    raise errors.UserError(
      f'{workdir} holds a run with another config: {", ".join(named)}. '
      f'Give these fields their old values to continue it, or {_NEW_RUN}'
    )


def check_data(data: Data, workdir: epath.Path) -> None:
  """Refuses to go on with a run that was started on other images.

  Args:
    data: of the images that the job has now; what is not in it is not
      compared.
    workdir: the run's folder.

  Raises:
    UserError: they are not those of data.json; the difference is named.
  """
  saved = _load_data(workdir) or {}
  changed = [
    f'{split} {name} ({str(old)[:200]} -> {str(data[split][name])[:200]})'
    for split in saved.keys() & data.keys()
    for name, old in saved[split].items()
    if name in data[split] and data[split][name] != old
  ]
  if changed:
    raise errors.UserError(
      f'{workdir} holds a run on other data: {", ".join(changed)}. Put the '
      f'files back to continue it, or {_NEW_RUN}'
    )


def _complete(saved: dict[str, Any]) -> dict[str, Any]:
  """With the fields of config.ADDED, where a job of its mode has them."""
  for field, value in config_lib.ADDED.items():
    group, _, name = field.rpartition('.')
    if _MODE_OF.get(group, saved['mode']) == saved['mode']:
      (saved.setdefault(group, {}) if group else saved).setdefault(name, value)
  return saved


def _load_data(workdir: epath.Path) -> Data | None:
  return workdir_lib.read_json(
    workdir / 'data.json',
    f'delete it if the data is what it was, or {_NEW_RUN}',
  )

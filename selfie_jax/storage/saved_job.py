"""What a run's folder says of its job: config.json, data.json, results.json.

Written when a run starts (results.json when it ends), compared when it goes on.
"""

import json
from typing import Any

from etils import epath
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import workdir as workdir_lib

Facts = dict[str, dict[str, Any]]  # of the data, by part: 'train', 'test'


def save_config(config: ml_collections.ConfigDict, workdir: epath.Path) -> None:
  """Writes config.json."""
  text = json.dumps(config.to_dict(), indent=2, sort_keys=True)
  workdir_lib.write(workdir / 'config.json', text + '\n')


def save_data(facts: Facts, workdir: epath.Path) -> None:
  """Writes data.json: what the images were that a run started with."""
  workdir_lib.write_json(workdir / 'data.json', facts)


def load_config(workdir: epath.Path) -> ml_collections.ConfigDict | None:
  """The config that a run was started with; None if there is no run.

  Fields that came later have the value that does what runs did before.

  Raises:
    UserError: config.json is damaged.
  """
  saved = _read(
    workdir / 'config.json', 'put back its copy, or start a new run'
  )
  if saved and (mode := saved.get('mode')) not in config_lib.MODES:
    raise errors.UserError(
      f'{workdir}/config.json is damaged: there is no mode={mode!r}'
    )
  return saved and _complete(ml_collections.ConfigDict(saved))


def load_results(workdir: epath.Path) -> dict[str, Any] | None:
  """What results.json holds; None before the end of the run.

  Raises:
    UserError: results.json is damaged.
  """
  return _read(
    workdir / 'results.json',
    'delete it and type the same command again, or start a new run',
  )


def load_class_names(workdir: epath.Path) -> list[str] | None:
  """The classes that data.json names; None without that file."""
  facts = _load_data(workdir)
  return facts and facts['train']['classes']


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
      'Give these fields their old values to continue it, or start a new '
      'run with --workdir=SOMEWHERE_ELSE'
    )


def check_data(facts: Facts, workdir: epath.Path) -> None:
  """Refuses to go on with a run that was started on other images.

  Args:
    facts: of the images that the job finds; what is not in them is not
      compared.
    workdir: the run's folder.

  Raises:
    UserError: they are not those of data.json; the difference is named.
  """
  saved = _load_data(workdir) or {}
  changed = [
    f'{part} {name} ({str(old)[:200]} -> {str(facts[part][name])[:200]})'
    for part in saved.keys() & facts.keys()
    for name, old in saved[part].items()
    if name in facts[part] and facts[part][name] != old
  ]
  if changed:
    raise errors.UserError(
      f'{workdir} holds a run on other data: {", ".join(changed)}. Put the '
      'files back to continue it, or start a new run with '
      '--workdir=SOMEWHERE_ELSE'
    )


def _load_data(workdir: epath.Path) -> Facts | None:
  return _read(
    workdir / 'data.json',
    'delete it if the data is what it was, or start a new run',
  )


def _read(path: epath.Path, remedy: str) -> dict[str, Any] | None:
  text = workdir_lib.read_text(path)
  if text is None:
    return None
  try:
    value = json.loads(text)
    if not value or not isinstance(value, dict):
      raise ValueError('it should hold {...}')
    return value
  except ValueError as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); {remedy} with --workdir=SOMEWHERE_ELSE'
    ) from error


def _complete(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Gives a run's config the fields that jobs did not have at its time."""
  for field, value in config_lib.ADDED.items():
    group, _, name = field.rpartition('.')
    fields = config.get(group) if group else config
    if isinstance(fields, ml_collections.ConfigDict) and name not in fields:
      fields[name] = value
  return config

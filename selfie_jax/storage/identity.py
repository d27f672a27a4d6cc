"""Which run something is of: run.json, with a copy in all that the run saves.

An identity has up to five entries: 'config', a digest of the fields that decide
the run's numbers; 'data', one of data.json; 'jax', the settings that jax trains
with; 'number of devices', where it decides numbers; and 'start', which weights
the run began with. Where one of two lacks an entry (earlier versions wrote
none), it is not compared.
"""

import hashlib
import json
from typing import Any

from etils import epath
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

FILE = 'run.json'
KEY = 'identity'  # in a checkpoint's progress, and in results.json

Identity = dict[str, str]


def load_config(workdir: epath.Path) -> ml_collections.ConfigDict | None:
  """A run's config, see run_metadata; None if there is no run.

  UserError too if it, or data.json, is not what run.json or results.json is of.
  """
  config = run_metadata.load_config(workdir)
  if config is not None:
    results = run_metadata.load(workdir, 'results.json') or {}
    check(identify(config, workdir), results, workdir, 'results.json')
  return config


def identify(
  config: ml_collections.ConfigDict,
  workdir: epath.Path,
  data: run_metadata.Data | None = None,
  **more: str,
) -> Identity:
  """The identity of a job in its folder, as far as it is known so far.

  Args:
    config: the job's.
    workdir: its folder, which fits as far as config.json and data.json say.
    data: what data.json is to say; None before the data has been read.
    **more: entries beside those that follow from these.

  Raises:
    UserError: run.json is damaged, or of another run.
  """
  identity = {
    'config': digest(run_metadata.deciding_fields(config_lib.flatten(config))),
    **more,
  }
  # What was written first counts: a later version may have more to say.
  if data := run_metadata.load(workdir, 'data.json') or data:
    identity['data'] = digest(data)
  saved = run_metadata.load(workdir, FILE) or {}
  return check(identity, {KEY: saved}, workdir, FILE)


def check(
  ours: Identity, saved: dict[str, Any], workdir: epath.Path, name: str
) -> Identity:
  """Compares a run's identity with that of something saved; returns both.

  Args:
    ours: the run's.
    saved: results, or a checkpoint's progress.
    workdir: the run's folder.
    name: of what was saved there.

  Raises:
    UserError: `saved` is of another run; or it does not say of which, and there
      is no config.json that does.
  """
  theirs = saved.get(KEY)
  if theirs is None and not workdir_lib.exists(workdir / 'config.json'):
    raise errors.UserError(
      f'{workdir / name} does not say of which run it is, and config.json is '
      f'missing; put back its copy, or {run_metadata.NEW_RUN}'
    )
  theirs = theirs or {}
  changed = [k for k in sorted(ours.keys() & theirs) if ours[k] != theirs[k]]
  if changed == ['jax']:
    there, here = ({*each['jax'].split()} for each in (theirs, ours))
    raise errors.UserError(
      f'{workdir / name} is of a run with {" ".join(sorted(there - here))}, '
      f'and jax has {" ".join(sorted(here - there))} here. Change the '
      f'environment variable of that name, or {run_metadata.NEW_RUN}'
    )
  if changed:
    raise errors.UserError(
      f'{workdir / name} is of a run with another '
      f"{' and another '.join(changed)}. Put back this run's own files, type "
      f'the command of that run, or {run_metadata.NEW_RUN}'
    )
  return theirs | ours


def digest(value: Any) -> str:
  """Sixteen hexadecimal digits of what JSON can hold."""
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]

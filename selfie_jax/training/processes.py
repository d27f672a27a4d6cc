"""What the processes of a job must have in common before the first step."""

import os
import secrets

from etils import epath
import jax
import ml_collections

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib

# Settings of jax that decide numbers; the environment can change them.
_JAX_SETTINGS = (
  'jax_default_matmul_precision', 'jax_default_prng_impl', 'jax_enable_x64',
  'jax_random_seed_offset', 'jax_threefry_partitionable',
)  # fmt: skip


def environment(config: ml_collections.ConfigDict) -> dict[str, str]:
  """What decides a run's numbers beside its config and its images.

  Entries of the run's identity: the settings that jax trains with
  ('jax_enable_x64=False ...'); the number of devices, where BatchNorm is of a
  device's share of the batch.
  """
  settings = ' '.join(f'{k}={v}' for k, v in _read_jax_settings().items())
  found = {'jax': settings}
  if config.mode != 'probe' and not config.model.sync_batch_norm:
    found['number of devices'] = str(jax.device_count())
  return found


def check_same_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError, in all processes, if their configs or jax's differ."""
  here = {*run_metadata.MACHINE_FIELDS}  # in which they may differ
  flat = config_lib.flatten(config) | _read_jax_settings()
  first, *others = distributed.gather(flat)
  for process, other in enumerate(others, 1):
    fields = sorted((first.keys() | other.keys()) - here)
    if first['mode'] != other['mode']:
      fields = ['mode']  # which says why others differ
    differing = [
      f'{field} is {first.get(field)} in process 0 and {other.get(field)} in '
      f'process {process}'
      for field in fields
      if first.get(field) != other.get(field)
    ]
    if differing:
      raise errors.UserError(
        f'the processes have different configs: {"; ".join(differing)}. Start '
        'all of them again with the same flags'
      )


def check_shared(workdir: epath.Path) -> None:
  """Raises UserError, in all processes, if one does not see the folder."""
  if jax.process_count() == 1:
    return

  def create() -> str:
    # A new name each time, for a network's disk may remember an old one.
    name = f'seen-{secrets.token_hex(8)}'
    with workdir_lib.writing(workdir):
      (workdir / name).touch()
    return name

  token = workdir / distributed.broadcast_from_primary(create)
  seen = distributed.gather((os.fspath(workdir), token.exists()))
  if distributed.is_primary():
    token.unlink()
  for process, (folder, is_seen) in enumerate(seen):
    if not is_seen:
      raise errors.UserError(
        f'process {process} of the job does not see in {folder} what process 0 '
        f'writes to {seen[0][0]}; give a --workdir that all of them share, on '
        "a network's disk or in a bucket"
      )


def _read_jax_settings() -> dict[str, object]:
  return {name: getattr(jax.config, name) for name in _JAX_SETTINGS}

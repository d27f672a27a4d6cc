"""What tells one pretraining from another: its config and its weights."""

import hashlib
import json
import os
from typing import Any

from etils import epath
import jax
import numpy as np

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import saved_job
from selfie_jax.storage import workdir as workdir_lib

Fingerprint = dict[str, Any]
Path = str | os.PathLike[str]


def weights(tree: Any) -> str:
  """16 hexadecimal digits: the same for the same names, shapes and bits.

  Args:
    tree: of arrays, such as {'params': ..., 'batch_stats': ...}.
  """
  digest = hashlib.sha256()
  for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree)):
    array = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    digest.update(f'{name} {array.dtype} {array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()[:16]


def of_row(row: dict[str, Any]) -> Fingerprint | None:
  """From a run's results and flat config; None if it is no pretraining.

  Of runs from before results.json had it, the digest of the weights is None.
  """
  if 'patch_accuracy' not in row.get('metrics', {}):
    return None
  runtime = config_lib.RUNTIME_FIELDS
  decide = {f: v for f, v in row['config'].items() if f not in runtime}
  text = json.dumps(decide, sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:16]
  loss = row['metrics']['loss']
  return {'config': digest, 'loss': loss, 'weights': row.get('weights')}


def of_run(folder: Path) -> Fingerprint | None:
  """Of the run in a folder; None if no pretraining is finished there."""
  results = read(f'{folder}/results.json')
  config = saved_job.load_config(epath.Path(folder))
  if not results or config is None:
    return None
  return of_row(results | {'config': config_lib.flatten(config)})


def is_same(one: Fingerprint, other: Fingerprint) -> bool:
  """By the weights; where these are not known, by the exact loss."""
  name = 'weights' if one['weights'] and other['weights'] else 'loss'
  return one[name] == other[name]


def read(path: Path) -> Any:
  """What a JSON file of a run holds; None if it is not there.

  Raises:
    UserError: it is damaged, or the disk cannot read it.
  """
  path = epath.Path(path)
  try:
    text = workdir_lib.read_text(path)
    return None if text is None else json.loads(text)
  except ValueError as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); delete {path.parent} to have the job run '
      'again'
    ) from error

"""One run of main.py: its flags, and the config that they give."""

import dataclasses
import functools
import os
import pathlib
import shlex

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax import job_flags

ROOT = job_flags.ROOT
Fields = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Job:
  """A pretraining or a finetuning run; a pretraining has no arm and network."""

  name: str  # unique within a plan
  stage: str
  folder: str
  file: str  # 'configs/cifar_finetune.py:small'
  fields: Fields  # --config.FIELD=VALUE
  choice: str = ''  # FIELD=VALUE of an ablation
  start: 'Job | None' = None  # the pretraining that it starts from
  arm: str = ''  # 'supervised' or 'selfie'
  network: str = ''
  fraction: float = 1.0
  seed: int = 0
  rate: float | None = None  # None: the config's learning rate
  needs_rate: bool = False  # the learning rate is not chosen yet

  def arguments(self) -> list[str]:
    """What follows `python`; without paths in the project's folder."""
    prefix = '' if pathlib.Path.cwd() == ROOT else f'{ROOT}{os.sep}'
    return [
      f'{prefix}main.py',
      f'--config={prefix}{self.file}',
      f'--workdir={self.folder}',
      *(f'--config.{field}={value}' for field, value in self.fields),
    ]

  def command(self) -> str:
    """The command line."""
    return shlex.join(['python', *self.arguments()])

  def config(self) -> dict[str, object]:
    """See `read_config`."""
    return read_config(self.file, self.fields)


@functools.cache
def read_config(file: str, fields: Fields = ()) -> dict[str, object]:
  """The flat config of a job, {'model.width': 64, ...}, checked as in main.py.

  Raises:
    UserError: there is no such config, field or value.
  """
  if not (ROOT / 'main.py').exists():
    raise errors.UserError(
      f'there is no main.py in {ROOT}; run this from a clone of the project'
    )
  changed = [f'--config.{field}={value}' for field, value in fields]
  return config_lib.flatten(
    job_flags.read([f'--config={ROOT}/{file}', *changed])
  )

"""The user's folder for what can be made again: $XDG_CACHE_HOME or ~/.cache."""

import os
import pathlib
import warnings


def folder() -> pathlib.Path:
  """What lies in it may be deleted at any time."""
  base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return pathlib.Path(base) / 'selfie_jax'


def keep_compiled() -> None:
  """Has jax find what an earlier process has compiled, if nobody else has.

  jax knows a program by its text, its versions and the kind of processor; one
  that was not stored whole it compiles again. JAX_COMPILATION_CACHE_DIR names
  another folder, JAX_ENABLE_COMPILATION_CACHE=false turns it off.
  """
  import jax

  if not jax.config.jax_compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', str(folder() / 'compiled'))
  warnings.filterwarnings(
    'ignore', r'Error (reading|writing) persistent compilation cache'
  )

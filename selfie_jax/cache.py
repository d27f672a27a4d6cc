"""What is kept to be used again: files in the user's folder, and memory."""

import ctypes
import os
import pathlib
import warnings

# What glibc's malloc.h calls M_TRIM_THRESHOLD, ..., and the values.
_TRIM_THRESHOLD, _NEVER = -1, -1
_MMAP_THRESHOLD, _MOST_BYTES = -3, 1 << 25
_MMAP_MAX, _ARENA_MAX = -4, -8


def folder() -> pathlib.Path:
  """$XDG_CACHE_HOME or ~/.cache; what lies in it may be deleted at any time."""
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


def keep_memory(of_steps: bool = False) -> None:
  """Has the memory of freed arrays used for the next ones, where glibc is.

  It gives that of large ones back to the system, which clears it page by page
  when it hands it out again.

  Args:
    of_steps: whether also that of steps on the CPU is kept, for which XLA asks
      anew each time: a fifth of the processor time of small networks goes into
      clearing it. Then all threads share one heap; those that are there already
      would keep theirs, so it is to be called before jax starts its own.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:
    return
  mallopt(_TRIM_THRESHOLD, _NEVER)
  mallopt(_MMAP_THRESHOLD, _MOST_BYTES)
  if of_steps:
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)

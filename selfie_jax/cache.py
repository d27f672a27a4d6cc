"""What is kept to be used again: files in the user's folder, and memory."""

import ctypes
import importlib.util
import os
import pathlib
import warnings

# Parameters of glibc's mallopt, from its malloc.h, and their values.
_ARRAYS = {-1: -1, -3: 1 << 25}  # M_TRIM_THRESHOLD: never; M_MMAP_THRESHOLD
_STEPS = {-8: 1, -4: 0}  # M_ARENA_MAX, M_MMAP_MAX


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


def keep_memory() -> None:
  """Has the memory of freed arrays used for the next ones, where glibc is.

  It gives that of large ones back to the system, which clears it page by page
  when it hands it out again.
  """
  _set(_ARRAYS)


def keep_memory_of_steps() -> None:
  """Likewise for steps on a CPU, before jax starts, if it knows nothing else.

  XLA asks for the room of all that a step holds meanwhile each time anew, and
  to clear it takes a fifth of the processor time of small networks. With this
  all threads share one heap; a thread that had its own would go on as before.
  """
  import jax

  others = map(importlib.util.find_spec, ('libtpu', 'jax_plugins'))
  if jax.config.jax_platforms == 'cpu' or not any(others):
    _set(_ARRAYS | _STEPS)


def release_memory() -> None:
  """Gives memory that nothing uses back to the system, where glibc is.

  Steps leave gaps in the heap that the next steps do not fill: without this
  finetuning at :small has been seen to hold 7 GB, with it 4.
  """
  if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):
    trim(0)


def _set(values: dict[int, int]) -> None:
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  for parameter, value in values.items() if mallopt else ():
    mallopt(parameter, value)

"""What is kept is used again, and a broken file of it does no harm."""

import os
import pathlib
import platform
import subprocess
import sys
from unittest import mock
import warnings

import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import pytest

from selfie_jax import cache


@pytest.fixture
def compile_anew(tmp_path, monkeypatch):
  """Computes by a new function, the same each time: (result, hits)."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  own = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  compilation_cache.reset_cache()
  ones, listen = jnp.ones((3, 3)), mock.Mock()
  jax.monitoring.register_event_listener(listen)

  def compute():
    listen.reset_mock()
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      cache.keep_compiled()
      found = float(jax.jit(lambda x: (x @ x).sum())(ones))
    heard = [call.args[0] for call in listen.call_args_list]
    return found, heard.count('/jax/compilation_cache/cache_hits')

  yield compute
  jax.monitoring.unregister_event_listener(listen)
  jax.config.update('jax_compilation_cache_dir', own)
  compilation_cache.reset_cache()


def test_what_was_compiled_is_found_again(compile_anew, tmp_path):
  assert compile_anew() == (27, 0)
  assert compile_anew() == (27, 1)
  for path in (tmp_path / 'selfie_jax' / 'compiled').iterdir():
    path.write_bytes(path.read_bytes()[:-20])
  assert compile_anew() == (27, 0)


def test_the_users_own_folder_stays():
  own = jax.config.jax_compilation_cache_dir
  assert own
  cache.keep_compiled()
  assert jax.config.jax_compilation_cache_dir == own


needs_glibc = pytest.mark.skipif(
  'glibc' not in platform.libc_ver(), reason="mallopt's effect is glibc's"
)


@needs_glibc
def test_memory_that_nothing_uses_is_given_back():
  def held():
    return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * 4096

  blocks = [bytearray(100_000) for _ in range(2000)]
  del blocks[:-1]  # the last one lies behind the gap
  before = held()
  cache.release_memory()
  assert before - held() > 100e6


STEPS = """
import resource
from selfie_jax import command_line
command_line.start_jax()
import jax, jax.numpy as jnp

def multiply(x):
  y = x @ x[:64]
  return y.T @ y

x = jnp.ones((1, 2**18, 64))
step = jax.pmap(multiply)
for i in range(40):
  if i == 20:  # what others have taken parts of by then is made up for
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  step(x).block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


@pytest.mark.slow
@needs_glibc
def test_a_step_on_the_cpu_asks_for_no_new_memory():
  """Of 64 MiB for what it holds meanwhile, which are 16,384 pages."""
  env = os.environ | {'JAX_PLATFORMS': 'cpu'}
  said = subprocess.check_output([sys.executable, '-c', STEPS], env=env)
  assert int(said) < 16384 / 4

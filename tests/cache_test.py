"""What is kept is used again, and a broken file of it does no harm."""

import os
import platform
import subprocess
import sys

import jax
import pytest

from selfie_jax import cache

CODE = """
import jax
from selfie_jax import command_line
command_line.start_jax()
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
print(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((3, 3))))
print(hits.count('/jax/compilation_cache/cache_hits'))
"""


@pytest.fixture
def run(tmp_path):
  """Compiles in a new process: (result, hits, stderr)."""
  environment = os.environ | {'XDG_CACHE_HOME': str(tmp_path)}
  environment.pop('JAX_COMPILATION_CACHE_DIR')

  def compile_once(**variables):
    done = subprocess.run(
      [sys.executable, '-c', CODE],
      env=environment | variables,
      capture_output=True,
      text=True,
      check=True,
    )
    result, hits = done.stdout.split()
    return float(result), int(hits), done.stderr

  return compile_once


def test_what_was_compiled_is_found_again(run, tmp_path):
  assert run() == (27, 0, '')
  result, hits, _ = run()
  assert result == 27 and hits > 0
  for path in (tmp_path / 'selfie_jax' / 'compiled').iterdir():
    path.write_bytes(path.read_bytes()[:-20])
  assert run() == (27, 0, '')


def test_it_can_be_turned_off(run, tmp_path):
  assert run(JAX_ENABLE_COMPILATION_CACHE='false') == (27, 0, '')
  assert not (tmp_path / 'selfie_jax').exists()


def test_a_folder_that_cannot_be_made_is_no_hindrance(run, tmp_path):
  (tmp_path / 'selfie_jax').write_text('')
  assert run() == (27, 0, '')


def test_the_users_own_folder_stays():
  own = jax.config.jax_compilation_cache_dir
  assert own
  cache.keep_compiled()
  assert jax.config.jax_compilation_cache_dir == own


@pytest.mark.skipif(
  'glibc' not in platform.libc_ver(), reason="mallopt's effect is glibc's"
)
def test_a_step_on_the_cpu_asks_for_no_new_memory():
  """Of 64 MiB for what it holds meanwhile, which are 16,384 pages."""
  code = """
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
  said = subprocess.check_output(
    [sys.executable, '-c', code],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    text=True,
  )
  assert int(said) < 16384 / 4

"""Starts main.py again and again in copies of a process that has its imports.

Each line of the standard input is a job in JSON, the arguments of `start`. For
each a line is answered: its exit code, negative for a signal.
"""

import ctypes
import json
import os
import pathlib
import runpy
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from selfie_jax import data
from selfie_jax.probes import probe  # noqa: F401
from selfie_jax.training import train  # noqa: F401

data.load_tensorflow()  # not once more in every copy


def start(argv: list[str], env: dict[str, str], log: str, seconds: int) -> None:
  """Becomes main.py, which writes to `log` and is killed after `seconds`."""
  signal.alarm(seconds)  # kills it, whatever it waits for
  for stream in (1, 2):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
  os.environ.update(env)
  ctypes.CDLL(None).failing_io_settings()
  sys.argv = [str(ROOT / 'main.py'), *argv]
  sys.path[0] = str(ROOT)
  runpy.run_path(sys.argv[0], run_name='__main__')


print('ready', flush=True)
while job := sys.stdin.readline():
  child = os.fork()
  if not child:
    start(**json.loads(job))
    break
  _, status = os.waitpid(child, 0)
  print(os.waitstatus_to_exitcode(status), flush=True)

"""Starts main.py again and again in copies of a process that has its imports.

Each line of the standard input is a job in JSON: `argv` of main.py, `env` to
add, `log` for what it says, and the `seconds` after which it is killed. For
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
  """Becomes main.py."""
  signal.alarm(seconds)  # kills it, whatever it waits for
  for stream in (1, 2):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
  os.environ.update(env)
  ctypes.CDLL(None).failing_io_settings()
  main = ROOT / 'main.py'
  sys.argv = [str(main), *argv]
  sys.path[0] = str(ROOT)
  runpy.run_path(str(main), run_name='__main__')


def main() -> None:
  print('ready', flush=True)
  while job := sys.stdin.readline():
    child = os.fork()
    if not child:
      start(**json.loads(job))
      return
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == '__main__':
  main()

"""How long a job takes to its first step: python -m benchmarks.start.

  --config=configs/FILE.py[:variant] [--config.FIELD=VALUE ...]

Starts main.py in a fresh process, stops it after its first step, and prints
the seconds until then and their parts, of the fastest of several starts, as a
table and a line of JSON. The first start, which fills the compilation cache
(JAX_COMPILATION_CACHE_DIR), is told apart.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from absl import app
from absl import flags
from ml_collections import config_flags

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file('config', None, 'The job.')
flags.DEFINE_integer('repeats', 3, 'How often it is started; the best counts.')
flags.mark_flag_as_required('config')

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What the log says at the end of each part.
PARTS = {
  'imports and devices': re.compile(r' \d+ x '),
  'images, weights': re.compile(r'^Total: '),
  'the first step': re.compile(r' step 1 train: '),
}


def start() -> dict[str, float]:
  """Seconds of each part, in all, and of processor time in all."""
  with tempfile.TemporaryDirectory() as workdir:
    command = [
      sys.executable,
      ROOT / 'main.py',
      *(flag for flag in sys.argv[1:] if flag.startswith('--config')),
      '--config.log_every=1',
      f'--workdir={workdir}/run',
    ]
    began = time.perf_counter()
    seconds, said = {}, ''
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
      parts = iter(PARTS.items())
      name, end = next(parts)
      for line in job.stderr:
        said += line
        if end.search(line):
          seconds[name] = time.perf_counter() - began - sum(seconds.values())
          name, end = next(parts, (None, None))
          if name is None:
            break
      job.kill()
      # Not job.wait(): this tells the processor time too.
      _, _, usage = os.wait4(job.pid, 0)
      job.returncode = 0
  if len(seconds) < len(PARTS):
    sys.exit(f'the job ended before its first step: {said[-2000:]}')
  return seconds | {
    'in all': sum(seconds.values()),
    'processor': usage.ru_utime + usage.ru_stime,
  }


def main(argv: list[str]) -> None:
  del argv
  cache = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  first = start()
  others = [start() for _ in range(FLAGS.repeats)]
  best = min(others, key=lambda row: row['in all'])
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, {os.cpu_count()} cores, \
{'programs kept in JAX_COMPILATION_CACHE_DIR' if cache else 'no cache'}
seconds to the end of the first step: the first start, the best of \
{FLAGS.repeats} others""")
  for name, seconds in best.items():
    print(f'{name:20} {first[name]:7.1f} {seconds:7.1f}')
  print(f'\n{json.dumps({"first": first, "others": others})}')


if __name__ == '__main__':
  app.run(main)

"""What the loop costs beside its bare step: python -m benchmarks.loop.

  --config=configs/FILE.py[:variant] [--config.FIELD=VALUE ...]

Runs the real job; after each of its log lines, while the job stands still, the
same number of bare steps is timed (benchmarks/step.py). Prints a table and a
line of JSON: both rates, their ratio, the share of the loop's time in which it
waited for data, and how long an evaluation takes.
"""

import json
import statistics
import time

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags

from benchmarks import job
from benchmarks import watched
from selfie_jax import config as config_lib

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file('config', None, 'The job.')
flags.DEFINE_integer('rounds', 5, 'How often each is timed; medians count.')
flags.DEFINE_integer('steps', 20, 'Steps each time.')
flags.mark_flag_as_required('config')


def measure(config) -> dict:
  """Times the bare step and the loop in turns, on all local devices."""
  devices = jax.local_device_count()
  config_lib.check(config, devices)
  state, batch = job.make_state(config), job.make_batch(config, devices)
  step = job.compile_step(config, state)
  bare = []

  def time_bare_steps() -> None:
    nonlocal state
    start = time.perf_counter()
    for _ in range(FLAGS.steps):
      state, _ = step(state, batch)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    bare.append(FLAGS.steps * config.batch_size / seconds / devices)

  found = watched.run(config, FLAGS.steps, FLAGS.rounds, time_bare_steps)
  bare = bare[1 : FLAGS.rounds + 1]
  ratios = [
    loop / alone for loop, alone in zip(found['rates'], bare, strict=True)
  ]
  return {
    'devices': devices,
    'batch_size': config.batch_size,
    'bare': bare,
    'loop': found['rates'],
    'ratios': ratios,
    'ratio': statistics.median(ratios),
    'waiting': statistics.median(found['waiting']),
    'evaluations': found['evaluations'],
  }


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  found = measure(FLAGS.config)
  device = jax.local_devices()[0].device_kind
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, \
batch {found['batch_size']}, {found['devices']} x {device}
bare step            {statistics.median(found['bare']):10.1f} images per \
second and device
the loop             {statistics.median(found['loop']):10.1f}
ratio, line by line, median {found['ratio']:.3f}  (of \
{min(found['ratios']):.3f} to {max(found['ratios']):.3f})
waiting for data     {found['waiting']:10.2%}""")
  for part, row in found['evaluations'].items():
    print(
      f'evaluation           {row["seconds"]:10.2f} s for {row["images"]} '
      f'{part} images'
    )
  print(f'\n{json.dumps(found)}')


if __name__ == '__main__':
  app.run(main)

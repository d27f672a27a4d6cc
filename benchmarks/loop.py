"""What the loop costs beside its bare step: python -m benchmarks.loop.

  --config=configs/FILE.py[:variant] [--config.FIELD=VALUE ...]

Runs the real job; after each of its log lines, while the job stands still, the
same number of bare steps is timed (benchmarks/step.py). Prints a table and a
line of JSON: both rates, their ratio, the share of the loop's time in which it
waited for data, and how long an evaluation takes. The ratio of processor time
is the one to trust where other programs use the cores.
"""

import json
import statistics
import time

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags
import numpy as np

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
  step = job.lower_step(config, state).compile()
  bare, processor = [], []

  def time_bare_steps() -> None:
    nonlocal state
    start, used = time.perf_counter(), time.process_time()
    for _ in range(FLAGS.steps):
      state, _ = step(state, batch)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    images = FLAGS.steps * config.batch_size
    bare.append(images / seconds / devices)
    processor.append(images / (time.process_time() - used))

  found = watched.run(config, FLAGS.steps, FLAGS.rounds, time_bare_steps)
  counted = slice(1, FLAGS.rounds + 1)
  ratios = np.divide(found['rates'], bare[counted])
  used = np.divide(found['processor'], processor[counted])
  return {
    'devices': devices,
    'batch_size': config.batch_size,
    'bare': bare[counted],
    'loop': found['rates'],
    'ratios': ratios.tolist(),
    'processor_ratios': used.tolist(),
    'waiting': statistics.median(found['waiting']),
    'evaluations': found['evaluations'],
  }


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  found = measure(FLAGS.config)
  device = jax.local_devices()[0].device_kind
  ratios, used = found['ratios'], found['processor_ratios']
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, \
batch {found['batch_size']}, {found['devices']} x {device}
bare step            {statistics.median(found['bare']):10.1f} images per \
second and device
the loop             {statistics.median(found['loop']):10.1f}
ratio, line by line, median {statistics.median(ratios):.3f}  (of \
{min(ratios):.3f} to {max(ratios):.3f})
  of processor time  {statistics.median(used):10.3f}  (of {min(used):.3f} to \
{max(used):.3f})
waiting for data     {found['waiting']:10.2%}""")
  for part, row in found['evaluations'].items():
    print(
      f'evaluation           {row["seconds"]:10.2f} s for {row["images"]} '
      f'{part} images'
    )
  print(f'\n{json.dumps(found)}')


if __name__ == '__main__':
  app.run(main)

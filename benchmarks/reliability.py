"""What checkpoints and preemptions cost: python -m benchmarks.reliability.

  --config=configs/FILE.py[:variant] [--config.FIELD=VALUE ...]

Runs a few steps of the job, tells it to stop with SIGTERM, starts it again,
and saves and restores its checkpoint; prints a table and a line of JSON.
"""

import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags

from selfie_jax.data import input_pipeline
from selfie_jax.storage import checkpoints
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import train

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file('config', None, 'The job.')
flags.DEFINE_integer('repeats', 3, 'How often each is done; medians count.')
flags.DEFINE_integer('steps', 4, 'Steps after which SIGTERM is sent.')
flags.mark_flag_as_required('config')

ROOT = pathlib.Path(__file__).resolve().parent.parent
_RATE = re.compile(
  r'step (\d+) train: .*images_per_second_per_device ([\d.e+]+)'
)


def measure_checkpoint(config, folder: pathlib.Path) -> dict[str, float]:
  """Seconds and bytes of a checkpoint of a fresh state of the job."""
  source = input_pipeline.open_source(config, config.dataset.train_split)
  task = train.TASKS[config.mode]
  state = task.create_state(config, source.num_classes)
  mesh = jax.sharding.Mesh(jax.local_devices(), ('batch',))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  state = jax.block_until_ready(jax.device_put(state, everywhere))
  seconds = {'blocked': [], 'saved': [], 'checked': [], 'restored': []}
  workdir = workdir_lib.run_path(folder)
  with checkpoints.open_manager(workdir, 1) as manager:
    for step in range(1, FLAGS.repeats + 1):
      start = time.perf_counter()
      checkpoints.save(manager, state.replace(step=step), {'history': []})
      seconds['blocked'].append(time.perf_counter() - start)
      checkpoints.wait(manager)
      seconds['saved'].append(time.perf_counter() - start)
      start = time.perf_counter()
      assert checkpoints.is_whole(manager, step)
      seconds['checked'].append(time.perf_counter() - start)
      start = time.perf_counter()
      restored, _ = checkpoints.restore(manager, state, step)
      jax.block_until_ready(restored)
      seconds['restored'].append(time.perf_counter() - start)
    files = (folder / checkpoints.FOLDER / str(step)).rglob('*')
    size = sum(path.stat().st_size for path in files if path.is_file())
  medians = {name: statistics.median(row) for name, row in seconds.items()}
  return medians | {'megabytes': size / 1e6}


def measure_preemption(folder: pathlib.Path) -> dict[str, float]:
  """Seconds from SIGTERM to the end, and from the start to the next step."""
  command = [
    sys.executable,
    ROOT / 'main.py',
    *(flag for flag in sys.argv[1:] if flag.startswith('--config')),
    f'--workdir={folder / "run"}',
    '--config.log_every=1',
  ]
  stopping, starting, steps = [], [], []
  for repeat in range(FLAGS.repeats + 1):
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
      rows = []
      for line in job.stderr:
        if row := _RATE.search(line):
          rows.append(row)
          if len(rows) == 1 and repeat:
            starting.append(time.perf_counter() - start)
          if len(rows) == FLAGS.steps:
            break
      told = time.perf_counter()
      job.send_signal(signal.SIGTERM)
      rest = job.stderr.read()
    if job.returncode != 143:
      sys.exit(f'the job ended with {job.returncode}: {rest[-2000:]}')
    stopping.append(time.perf_counter() - told)
    steps += [float(row[2]) for row in rows[1:]]
  batch = FLAGS.config.batch_size / jax.device_count()
  return {
    'stopping': statistics.median(stopping),
    'starting': statistics.median(starting),
    'step': batch / statistics.median(steps),
  }


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  config = FLAGS.config
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    preemption = measure_preemption(folder)
    checkpoint = measure_checkpoint(config, folder)
  between = config.checkpoint_every * preemption['step']
  bound = checkpoint['saved'] / between
  device = jax.devices()[0].device_kind
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, \
batch {config.batch_size}, {jax.device_count()} x {device}, \
{os.cpu_count()} CPU cores
checkpoint on the disk                   {checkpoint['megabytes']:8.1f} MB
  until training goes on                 {checkpoint['blocked']:8.2f} s
  until it is on the disk, with its list {checkpoint['saved']:8.2f} s
  checking its list                      {checkpoint['checked']:8.2f} s
  reading it                             {checkpoint['restored']:8.2f} s
a step                                   {preemption['step']:8.3f} s
share of the time for checkpoints, every {config.checkpoint_every} steps
  (at most: as if training stood still)  {bound:8.2%}
SIGTERM: step in flight, save, exit      {preemption['stopping']:8.2f} s
starting again, to the first step's line {preemption['starting']:8.2f} s
""")
  print(
    json.dumps(
      {'checkpoint': checkpoint, 'preemption': preemption, 'share': bound}
    )
  )


if __name__ == '__main__':
  app.run(main)

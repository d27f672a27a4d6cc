"""How fast a job's images come out of a bucket, beside the same on the disk.

  python -m benchmarks.bucket --folder=DIR --latency=0.03 \\
      python -m benchmarks.bucket_input --config=configs/FILE.py \\
      --config.dataset.data_dir=DIR [--config.FIELD=VALUE ...]

Times in turns what training reads, without decoding it (records) and with
(images), from the folder DIR and from the bucket that is served with its files.
Prints a table and a line of JSON.
"""

from collections.abc import Iterator
import itertools
import json
import statistics

from absl import app
from absl import flags
from absl import logging
import jax
import numpy as np

from benchmarks import input_pipeline as benchmark
from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import job_flags
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import shuffle
from selfie_jax.data import threads

FLAGS = flags.FLAGS
PLACES = 'disk', 'bucket'


def records(config, reader) -> benchmark.Batches:
  """What training reads, in its order; each time it goes on where it was."""
  steps = itertools.count()

  def positions() -> Iterator[np.ndarray]:
    for step in steps:
      places = step * config.batch_size + np.arange(config.batch_size)
      block = config.dataset.shuffle_block
      yield shuffle.stream(config.seed, reader.size, block, places)

  ahead = config.dataset.read_ahead if reader.in_bucket else 0
  count = max(ahead // config.batch_size, 1)

  def read() -> Iterator[list[bytes]]:
    for _, pending in threads.prefetch(reader.submit, positions(), count):
      yield pending.result()

  return read


def measure(config) -> dict[str, dict[str, list[float]]]:
  """Records and images a second, by place."""
  streams = {}
  for place in PLACES:
    there = config.copy_and_resolve_references()
    if place == 'bucket':
      there.dataset.data_dir = 'gs://bucket'
    split = config.dataset.train_split
    reader = batches_lib.open_reader(there, split)
    _ = reader.labels
    source = batches_lib.open_source(there, split)
    streams[f'records, {place}'] = records(there, reader)
    streams[f'images, {place}'] = benchmark.our_stream(there, source)
  rates = {name: {'wall': [], 'processor': []} for name in streams}
  for _ in range(FLAGS.rounds):
    for name, start in streams.items():
      both = benchmark.batches_per_second(start(), FLAGS.seconds)
      for clock, rate in zip(rates[name], both.tolist(), strict=True):
        rates[name][clock].append(config.batch_size * rate)
  return rates


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  config = FLAGS.config
  config.dataset.cache_gib = 0.0
  config_lib.check(config, jax.device_count())
  rates = measure(config)
  print(
    f'{config.dataset.name}, blocks of {config.dataset.shuffle_block}, batch'
    f" {config.batch_size}: a second, and a second of a core's time"
  )
  for name, row in rates.items():
    wall, used = (statistics.median(row[clock]) for clock in row)
    print(f'{name:16} {wall:9.0f} {used:9.0f}')
  for what in ('records', 'images'):
    ratios = np.divide(*(rates[f'{what}, {p}']['wall'] for p in PLACES[::-1]))
    print(
      f'{what}, bucket / disk, median {statistics.median(ratios.tolist()):.2f}'
      f' ({ratios.min():.2f} to {ratios.max():.2f})'
    )
  print(json.dumps(rates))


if __name__ == '__main__':
  with command_line.exit_cleanly():
    app.run(main, flags_parser=job_flags.parse)

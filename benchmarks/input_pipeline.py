"""How fast a job's images come: python -m benchmarks.input_pipeline.

  --config=configs/FILE.py[:variant] [--config.FIELD=VALUE ...] [--evaluation]

Times the stream of training images alone (or that of the test images) in turns
with the plainest way to do its main work: for images kept in memory, gathering
batches of them; for encoded ones, decoding the same JPEG files cropped alike
and resizing them. Prints a table and a line of JSON.
"""

from collections.abc import Callable
from collections.abc import Iterator
import itertools
import json
import statistics
import sys
import time

from absl import app
from absl import flags
from absl import logging
import jax
import ml_collections
from ml_collections import config_flags
import numpy as np
import tensorflow as tf

from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import job_flags
from selfie_jax.data import augment
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import sources

FLAGS = flags.FLAGS
job_flags.define()
flags.DEFINE_integer('rounds', 5, 'How often each is timed; medians count.')
flags.DEFINE_float('seconds', 3.0, 'At least so long each time.')
flags.DEFINE_boolean('evaluation', False, 'The test images, as evaluated.')
flags.mark_flag_as_required('config')

SAMPLE = 2_048  # different files that are decoded plainly

# Starts to give out batches, without an end.
Batches = Callable[[], Iterator]


def our_stream(config, source: sources.Source) -> Batches:
  """The stream of the job; each time it goes on where it was left."""
  step = 0

  def train() -> Iterator:
    nonlocal step
    endless = ml_collections.ConfigDict(config.to_dict())
    endless.total_steps = sys.maxsize
    for batch in batches_lib.train_batches(source, None, endless, step):
      step += 1
      yield batch

  def evaluate() -> Iterator:
    size = config.eval_batch_size
    indices = np.resize(np.arange(source.size), 1_000 * size)
    while True:
      yield from batches_lib.eval_batches(source, indices, size)

  return evaluate if FLAGS.evaluation else train


def plain_gathering(source: sources.Source, batch_size: int) -> Batches:
  """Copies images that are in memory into batches, in random order."""
  (images,) = source.eval_images([np.arange(source.size)])
  order = np.random.default_rng(0).permutation(source.size)

  def gather() -> Iterator:
    for start in itertools.count(0, batch_size):
      rows = np.arange(start, start + batch_size) % source.size
      yield images.take(order[rows], axis=0)

  return gather


def plain_decoding(config, reader, batch_size: int) -> Batches:
  """Decodes files that are in memory, in boxes that are known, and resizes."""
  chosen = np.random.default_rng(0).permutation(reader.size)[:SAMPLE]
  files = [reader.encoded_image(record) for record in reader.read(chosen)]
  files = [file for file in files if tf.image.is_jpeg(file)]
  if not files:
    sys.exit(f'error: {reader.name} has no JPEG files')
  boxes = [_box(config, number, file) for number, file in enumerate(files)]
  size = [config.image_size] * 2

  def decode(file: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    image = tf.image.decode_and_crop_jpeg(
      file, box, channels=3, dct_method='INTEGER_ACCURATE'
    )
    return tf.cast(tf.image.resize(image, size), tf.uint8)

  def decode_all() -> Iterator:
    data = tf.data.Dataset.from_tensor_slices((files, boxes)).repeat()
    data = data.map(decode, tf.data.AUTOTUNE).batch(batch_size).prefetch(2)
    return data.as_numpy_iterator()

  return decode_all


def _box(config, number: int, file: tf.Tensor) -> tf.Tensor:
  """The box that the job would decode: top, left, height, width."""
  shape = tf.io.extract_jpeg_shape(file)
  if config.augment.crop != 'random_resized':
    return tf.concat([[0, 0], shape[:2]], 0)
  if FLAGS.evaluation:
    return augment.central_box(shape)
  return augment.random_box(shape, [0, number], config.augment.min_area)


def measure(config) -> dict:
  """Times both in turns."""
  config_lib.check(config, jax.device_count())
  split = 'test_split' if FLAGS.evaluation else 'train_split'
  reader = batches_lib.open_reader(config, config.dataset[split])
  source = sources.Source(reader, config)
  batch_size = config.eval_batch_size if FLAGS.evaluation else config.batch_size
  _ = source.labels  # decodes, or looks for files that cannot be read
  both = {
    'stream': our_stream(config, source),
    'plain': plain_gathering(source, batch_size)
    if source.in_memory
    else plain_decoding(config, reader, batch_size),
  }
  wall = {name: [] for name in both}
  processor = {name: [] for name in both}
  for _ in range(FLAGS.rounds):
    for name, start in both.items():
      rates = batch_size * batches_per_second(start(), FLAGS.seconds)
      wall[name].append(rates[0])
      processor[name].append(rates[1])
  return {
    'in_memory': source.in_memory,
    'batch_size': batch_size,
    'images_per_second': wall,
    'images_per_processor_second': processor,
    'ratios': _ratios(wall),
    'processor_ratios': _ratios(processor),
  }


def _ratios(rates: dict[str, list[float]]) -> list[float]:
  return np.divide(rates['stream'], rates['plain']).tolist()


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  config = FLAGS.config
  found = measure(config)
  plain = 'gathering alone' if found['in_memory'] else 'decoding alone'
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, {config.dataset.name}, \
{config.image_size} px, batch {found['batch_size']}
images a second, and a second of a core's time""")
  for name, row in found['images_per_second'].items():
    used = statistics.median(found['images_per_processor_second'][name])
    print(
      f'{plain if name == "plain" else "the stream":20} '
      f'{statistics.median(row):9.0f} {used:9.0f}'
    )
  ratios, used = found['ratios'], found['processor_ratios']
  print(
    f'ratio, round by round, median  {statistics.median(ratios):.2f}  '
    f'{statistics.median(used):.2f}  (of {min(ratios):.2f} to '
    f'{max(ratios):.2f}, {min(used):.2f} to {max(used):.2f})'
  )
  print(f'\n{json.dumps(found)}')


def batches_per_second(batches: Iterator, seconds: float) -> np.ndarray:
  """Goes through batches for at least so long.

  Returns:
    Batches a second, and a second of processor time of all threads: float64,
    [2], above zero however the machine is shared.
  """
  next(batches)  # setting up, and the first batch, are no part of the rate
  start, count = _clocks(), 0
  spent = np.zeros(2)
  while spent[0] < seconds or not spent.all():
    next(batches)
    count += 1
    spent = _clocks() - start
  return count / spent


def _clocks() -> np.ndarray:
  return np.array([time.perf_counter(), time.process_time()])


if __name__ == '__main__':
  with command_line.exit_cleanly():
    app.run(main, flags_parser=job_flags.parse)

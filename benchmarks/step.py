"""How fast the bare training step is: python -m benchmarks.step.

  --config=configs/FILE.py[:variant] [--config.FIELD=VALUE ...]

Prints a table and a line of JSON: images and FLOP per second, the share of the
device's peak, the time of the compilation and the memory.
"""

import json
import resource
import statistics
import time

from absl import app
from absl import flags
from absl import logging
import jax
import jax.numpy as jnp
from ml_collections import config_flags

from benchmarks import job
from selfie_jax import cache
from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import job_flags
from selfie_jax.training import throughput

FLAGS = flags.FLAGS
job_flags.define()
flags.DEFINE_integer('warmup', 2, 'Steps before the clock starts.')
flags.DEFINE_integer('repeats', 5, 'How often it is timed; the median counts.')
flags.DEFINE_float('seconds', 2.0, 'At least so long each time.')
flags.mark_flag_as_required('config')


def measure(config) -> dict[str, float | str]:
  """Times the step of a job on all local devices."""
  devices = jax.local_device_count()
  config_lib.check(config, devices)
  state, batch = job.make_state(config), job.make_batch(config, devices)
  start = time.perf_counter()
  step = job.lower_step(config, state).compile()
  compile_seconds = time.perf_counter() - start

  def run(steps: int) -> float:
    nonlocal state
    start = time.perf_counter()
    for _ in range(steps):
      state, _ = step(state, batch)
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / steps

  once = run(FLAGS.warmup)
  steps = max(1, round(FLAGS.seconds / once))
  times = [run(steps) for _ in range(FLAGS.repeats)]
  seconds = statistics.median(times)
  flops = step.cost_analysis()['flops'] * devices / seconds
  device = jax.local_devices()[0]
  peak, source = _peak(device)
  return {
    'device': device.device_kind,
    'devices': devices,
    'dtype': config.dtype,
    'batch_size': config.batch_size,
    'images_per_second': config.batch_size / seconds,
    'step_seconds': seconds,
    'slowest_over_median': max(times) / seconds,
    'flop_per_second': flops,
    'share_of_peak': flops / (peak * devices),
    'peak_from': source,
    'compile_seconds': compile_seconds,
    'memory_bytes': _memory(device),
  }


def _peak(device: jax.Device) -> tuple[float, str]:
  """FLOP/s of one device, and where the number is from."""
  if peak := throughput.find_peak(device.device_kind):
    return peak, 'data sheet, bfloat16'
  side = 2048
  x = jnp.ones((side, side))
  multiply = jax.jit(jnp.matmul)
  times = []
  for _ in range(8):
    start = time.perf_counter()
    multiply(x, x).block_until_ready()
    times.append(time.perf_counter() - start)
  return 2 * side**3 / min(
    times
  ), f'float32 product of {side} x {side}, measured'


def _memory(device: jax.Device) -> int:
  """Most bytes that were in use: of the device, or of the process on a CPU."""
  stats = device.memory_stats()
  if stats:
    return stats['peak_bytes_in_use']
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  cache.keep_memory_of_steps()  # as main.py does
  found = measure(FLAGS.config)
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, {found['dtype']}, \
batch {found['batch_size']}, {found['devices']} x {found['device']}
images per second    {found['images_per_second']:10.1f}
a step               {found['step_seconds'] * 1e3:10.1f} ms
GFLOP per second     {found['flop_per_second'] / 1e9:10.1f}
share of the peak    {found['share_of_peak']:10.2f}  ({found['peak_from']})
compilation          {found['compile_seconds']:10.1f} s
memory               {found['memory_bytes'] / 2**30:10.2f} GiB
""")
  print(json.dumps(found))


if __name__ == '__main__':
  with command_line.exit_cleanly():
    app.run(main, flags_parser=job_flags.parse)

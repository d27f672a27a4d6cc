"""What a job's training step costs on a TPU, by the TPU compiler's estimates.

  python -m benchmarks.tpu_cost --config=configs/FILE.py[:variant] \
      [--topology=v5e:1x1] [--batch_per_device=128] [--top=20]

No TPU is needed: libtpu compiles for one that is only described (install
requirements-bench.txt). The estimates were never checked on a chip; they are
for comparing two forms of one program. Prints a table and a line of JSON.
"""

import collections
import hashlib
import json
import os
import re
import sys

# Before jax is loaded: compile for TPUs, compute on the CPU.
os.environ.update(
  JAX_PLATFORMS='cpu', TPU_SKIP_MDS_QUERY='1', ALLOW_MULTIPLE_LIBTPU_LOAD='1'
)
os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-8')
os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')

from absl import app
from absl import flags
from absl import logging
import jax
from jax.experimental import topologies
from ml_collections import config_flags

from benchmarks import chips
from benchmarks import hlo
from benchmarks import job
from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import job_flags

FLAGS = flags.FLAGS
job_flags.define()
flags.DEFINE_string('topology', 'v5e:1x1', 'Chips, such as v5e:2x4, v4:2x2x2.')
flags.DEFINE_integer(
  'batch_per_device', None, "Images a device; the config's batch if not given."
)
flags.DEFINE_integer('top', 0, 'How many of the costliest modules to list.')
flags.DEFINE_string('text', None, 'A file to write the compiled program to.')
flags.DEFINE_bool(
  'lower_only', False, 'Only print the hash of the program to be compiled.'
)
flags.mark_flag_as_required('config')


def describe(topology: str):
  """A topology by name; chips with two cores are one device each."""
  kind, _, grid = topology.partition(':')
  if kind not in chips.CHIPS or not grid:
    sys.exit(
      f'error: no topology {topology!r}; type --topology=KIND:GRID with KIND '
      f'one of {", ".join(chips.CHIPS)} and GRID such as 1x1 (v5e) or 2x2x2'
    )
  if grid == '1x1':
    more = {'chips_per_host_bounds': (1, 1, 1)}
  else:
    more = {} if kind == 'v5e' else {'chip_config_name': 'megacore'}
  return topologies.get_topology_desc(topology, platform='tpu', **more)


def measure(config, topology: str) -> dict[str, float | str]:
  """Compiles the job's step for a topology and adds its costs up."""
  flop_rate, clock, byte_rate, memory = chips.CHIPS[topology.partition(':')[0]]
  devices = list(describe(topology).devices)
  if FLAGS.batch_per_device:
    config.batch_size = FLAGS.batch_per_device * len(devices)
  config_lib.check(config, 1)
  state = jax.eval_shape(lambda: job.make_state(config))
  lowered = job.lower_step(config, state, devices)
  source = hashlib.sha256(lowered.as_text().encode()).hexdigest()
  if FLAGS.lower_only:
    return {'program': source}
  step = lowered.compile()
  text = step.as_text()
  if FLAGS.text:
    with open(FLAGS.text, 'w') as file:
      file.write(text)
  program = hlo.parse(text)
  images = config.batch_size / len(devices)
  used = step.memory_analysis()
  bytes_used = (
    used.argument_size_in_bytes
    + used.output_size_in_bytes
    + used.temp_size_in_bytes
    - used.alias_size_in_bytes
  )
  unestimated = program.total('bytes') / byte_rate * clock
  cycles = program.total('cycles') + unestimated
  flops = step.cost_analysis()['flops']
  if FLAGS.top:
    _print_top(program, FLAGS.top, images, byte_rate / clock)
  return {
    'program': source,
    'devices': len(devices),
    'batch_per_device': images,
    'kilocycles_per_image': cycles / images / 1e3,
    'of_them_by_bandwidth': unestimated / images / 1e3,
    'gigaflop_per_image': flops / images / 1e9,
    'utilisation': flops / (cycles / clock) / flop_rate,
    'memory_bytes': bytes_used,
    'memory_share': bytes_used / memory,
    'collectives': program.total('collectives'),
    'collective_bytes': program.total('collective_bytes'),
    'parts': _parts(program, images, byte_rate / clock),
  }


def _parts(program: hlo.Program, images, bytes_per_cycle) -> dict[str, float]:
  """Kilocycles an image of the network's parts, each way."""
  parts = collections.Counter()
  for module, cost in program.by_module().items():
    found = re.search(r'stem|block\d|layer\d', module)
    name = found[0] if found else 'optimiser and rest'
    name = 'attention pooling' if name.startswith('layer') else name
    if found:
      way = 'backward' if module.startswith('backward') else 'forward'
      name = f'{name} {way}'
    parts[name] += (cost['cycles'] + cost['bytes'] / bytes_per_cycle) / images
  return {name: cycles / 1e3 for name, cycles in sorted(parts.items())}


def _print_top(program: hlo.Program, count: int, images, bytes_per_cycle):
  print('\nkilocycles an image, by module')
  rows = {}
  for module, cost in program.by_module().items():
    cycles = cost['cycles'] + cost['bytes'] / bytes_per_cycle
    rows[module] = cycles / images / 1e3
  for module, cycles in sorted(rows.items(), key=lambda r: -r[1])[:count]:
    print(f'{cycles:8.2f}  {module}')


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  found = measure(FLAGS.config, FLAGS.topology)
  if FLAGS.lower_only:
    print(json.dumps(found))
    return
  print(f"""
{config_flags.get_config_filename(FLAGS['config'])}, {FLAGS.config.dtype}, \
{found['batch_per_device']:.0f} images on each of {found['devices']} x \
{FLAGS.topology.partition(':')[0]}
kilocycles an image  {found['kilocycles_per_image']:8.1f}  (estimates; \
{found['of_them_by_bandwidth']:.1f} of them by bandwidth alone)
GFLOP an image       {found['gigaflop_per_image']:8.2f}
utilisation          {found['utilisation']:8.2f}
memory               {found['memory_bytes'] / 2**30:8.2f} GiB \
({found['memory_share']:.0%} of the chip's)
collectives          {found['collectives']:8.0f}  \
({found['collective_bytes'] / 1e6:.1f} MB)
""")
  print(json.dumps(found))


if __name__ == '__main__':
  with command_line.exit_cleanly():
    app.run(main, flags_parser=job_flags.parse)

"""A training step of ours beside the same step in PyTorch, in one run.

  python -m benchmarks.torch_baseline --config=configs/cifar_pretrain.py \
      --config.batch_size=32 --config.dtype=float32 [--compile] [--bfloat16]

PyTorch's is written as one ordinarily would: torch.nn's layers and its
Transformer, channels_last. Both are timed in turns, on the same cores, and the
median of the ratios is printed (install requirements-bench.txt).

PyTorch's threads wait for each other at every operation, so beside other
programs its rate on several cores falls to a fraction, which ours does not:
there, compare on one core (--cores=1), by the ratio of processor time.
"""

import contextlib
import json
import os
import time

with contextlib.suppress(ImportError):
  # For --compile; loaded after TensorFlow, its LLVM aborts the process.
  import triton  # noqa: F401
from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags
import numpy as np
import torch

from benchmarks import job
from benchmarks import torch_networks
from selfie_jax import cache
from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import job_flags

FLAGS = flags.FLAGS
job_flags.define()
flags.DEFINE_integer('rounds', 5, 'How often each is timed.')
flags.DEFINE_float('seconds', 5.0, 'At least so long each time.')
flags.DEFINE_boolean('compile', False, 'Whether to use torch.compile.')
flags.DEFINE_boolean('bfloat16', False, 'Whether to use autocast.')
flags.DEFINE_integer('cores', 0, 'How many cores both may use; 0 for all.')
flags.DEFINE_boolean('channels_last', True, 'The layout of the images.')
flags.mark_flag_as_required('config')


def torch_step(config, batch):
  """A function that does one step of PyTorch, on the host."""
  layout = (
    torch.channels_last if FLAGS.channels_last else torch.contiguous_format
  )
  if config.mode == 'pretrain':
    model, loss_fn = torch_networks.make_pretrain_loss(config, layout)
  else:
    model, loss_fn = torch_networks.make_finetune_loss(
      config, layout, job.num_classes(config)
    )
  model = model.to(memory_format=layout)
  optimizer = torch.optim.SGD(
    model.parameters(),
    config.optimizer.learning_rate,
    config.optimizer.momentum,
    weight_decay=config.optimizer.weight_decay,
    nesterov=config.optimizer.nesterov,
  )
  mean = torch.tensor(config.normalise.mean)[:, None, None]
  std = torch.tensor(config.normalise.std)[:, None, None]
  images, labels = (
    torch.from_numpy(x.reshape(-1, *x.shape[2:]))
    for x in (batch['image'], batch['label'].astype(np.int64))
  )
  solve = torch.compile(model) if FLAGS.compile else model

  def step():
    x = (images.permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.autocast('cpu', torch.bfloat16, enabled=FLAGS.bfloat16):
      loss = loss_fn(solve, x, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()

  step.parameters = sum(p.numel() for p in model.parameters())
  return step


def our_step(config, batch):
  """A function that does one step of ours."""
  state = job.make_state(config)
  compiled = job.lower_step(config, state).compile()

  def step():
    nonlocal state
    state, metrics = compiled(state, batch)
    return float(metrics['loss'])

  step.parameters = sum(x.size for x in jax.tree.leaves(state.params))
  return step


def images_per_second(step, steps: int, batch_size: int) -> np.ndarray:
  """Of time, and of processor time of all threads: float64, [2]."""
  start = np.array([time.perf_counter(), time.process_time()])
  for _ in range(steps):
    step()
  spent = np.array([time.perf_counter(), time.process_time()]) - start
  return steps * batch_size / spent


def use_cores(count: int) -> None:
  """Keeps this process to so many cores; before either makes its threads."""
  cores = sorted(os.sched_getaffinity(0))[:count]
  os.sched_setaffinity(0, cores)
  torch.set_num_threads(len(cores))


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.FATAL)
  jax.config.update('jax_platforms', 'cpu')
  cache.keep_memory_of_steps()  # as main.py does
  if FLAGS.cores:
    use_cores(FLAGS.cores)
  config = FLAGS.config
  config_lib.check(config, 1)
  batch = job.make_batch(config, 1)
  steps = {'ours': our_step(config, batch), 'torch': torch_step(config, batch)}
  counts = {name: step.parameters for name, step in steps.items()}
  if len(set(counts.values())) > 1:
    raise ValueError(f'these are different networks: {counts} parameters')
  times = {}
  for name, step in steps.items():
    step()
    start = time.perf_counter()
    step()
    times[name] = max(1, round(FLAGS.seconds / (time.perf_counter() - start)))
  rates = {name: [] for name in steps}
  for _ in range(FLAGS.rounds):
    for name, step in steps.items():
      rates[name].append(
        images_per_second(step, times[name], config.batch_size)
      )
  ours, other = (np.median(rates[name], axis=0) for name in rates)
  ratios = np.divide(rates['ours'], rates['torch'])  # [rounds, 2]
  ratio, low, high = np.median(ratios, 0), ratios.min(0), ratios.max(0)
  form = ['channels_last'] * FLAGS.channels_last + ['compile'] * FLAGS.compile
  form += ['bfloat16 autocast'] if FLAGS.bfloat16 else ['float32']
  job_name = config_flags.get_config_filename(FLAGS['config'])
  print(f"""
{job_name}, batch {config.batch_size}, \
{counts['ours']:,} parameters, {torch.get_num_threads()} threads
images a second, and a second of a core's time
ours ({config.dtype})  {ours[0]:8.1f} {ours[1]:8.1f}
PyTorch {torch.__version__}, {', '.join(form)}  \
{other[0]:8.1f} {other[1]:8.1f}
ratio, round by round, median  {ratio[0]:.2f} {ratio[1]:.2f}  \
(of {low[0]:.2f} to {high[0]:.2f}, {low[1]:.2f} to {high[1]:.2f})
""")
  print(
    json.dumps(
      {
        'rates': {
          name: np.transpose(row).tolist() for name, row in rates.items()
        },
        'ratio': ratio[0],
        'processor_ratio': ratio[1],
        'torch_form': form,
      }
    )
  )


if __name__ == '__main__':
  with command_line.exit_cleanly():
    app.run(main, flags_parser=job_flags.parse)

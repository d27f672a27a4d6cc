"""A GPU's turn: python -m benchmarks.gpu --out=gpu.jsonl

Measures, each in a process of its own, and appends a line of JSON for each:

  step    the bare step of the paper's jobs, in float32 and bfloat16, with 128
          images and with the paper's batch. No TensorFlow, no data needed
  loop    main.py on CIFAR-10 as tfds has it (TFDS_DATA_DIR)
  losses  of :tiny digits jobs in float32, here and on the CPU, step by step

What FILE has of this device is not measured again, so it can be stopped and
goes on. Nothing is downloaded. Without a GPU it measures the CPU.
"""

import argparse
from collections.abc import Iterator
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from selfie_jax import command_line
from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = ('step', 'loop', 'losses')
JOBS = tuple(
  f'{data}_{mode}'
  for data in ('cifar', 'imagenet32', 'imagenet')
  for mode in ('pretrain', 'finetune')
)
DTYPES = ('float32', 'bfloat16')
_SMALL_BATCH = 128
_LOOP_STEPS = 300
# Of float32 numbers: 'highest' is in float32, recent GPUs' default in TF32.
PRODUCTS = ('highest', 'default')
_PRINT_DEVICE = """
import jax
from selfie_jax import command_line
with command_line.exit_cleanly():
  command_line.start_jax()
  print(jax.devices()[0].device_kind)
"""


def measurements(
  kinds: tuple[str, ...], variant: str, loop_steps: int
) -> Iterator[dict[str, Any]]:
  """What is to be measured: a kind and the job it is of."""
  if 'step' in kinds:
    for job, dtype, batch in itertools.product(
      JOBS, DTYPES, (_SMALL_BATCH, None)
    ):
      name = f'{job}.py{variant}'
      yield {'kind': 'step', 'job': name, 'dtype': dtype, 'batch': batch}
  if 'loop' in kinds:
    for job, dtype in itertools.product(JOBS[:2], DTYPES):
      name = f'{job}.py{variant}'
      yield {'kind': 'loop', 'job': name, 'dtype': dtype, 'steps': loop_steps}
  if 'losses' in kinds:
    for mode, products in itertools.product(('pretrain', 'finetune'), PRODUCTS):
      job = f'digits_{mode}.py:tiny'
      yield {'kind': 'losses', 'job': job, 'products': products}


def measure(cell: dict[str, Any]) -> dict[str, Any]:
  """The numbers of a cell, or {'error': its last line}."""
  try:
    return {'step': _step, 'loop': _loop, 'losses': _losses}[cell['kind']](cell)
  except subprocess.CalledProcessError as error:
    return {'error': _last_line(error)}


def _step(cell: dict[str, Any]) -> dict[str, Any]:
  flags = [f'--config=configs/{cell["job"]}', f'--config.dtype={cell["dtype"]}']
  if cell['batch']:
    flags.append(f'--config.batch_size={cell["batch"]}')
  said = _python('-m', 'benchmarks.step', *flags)
  return json.loads(said.splitlines()[-1])


def _loop(cell: dict[str, Any]) -> dict[str, Any]:
  steps = cell['steps']
  with tempfile.TemporaryDirectory() as folder:
    _train(
      cell['job'],
      folder,
      f'dtype={cell["dtype"]}',
      f'total_steps={steps}',
      f'eval_every={steps}',
      f'log_every={max(steps // 10, 1)}',
      f'optimizer.warmup_steps={steps // 10}',
      'dataset.download=False',
    )
    results = json.loads((pathlib.Path(folder) / 'results.json').read_text())
  return {
    'images_per_second': results['images_per_second'],
    'utilisation': results['utilisation'],
  }


def _losses(cell: dict[str, Any]) -> dict[str, Any]:
  """The largest difference between a loss here and on the CPU, relative."""
  variables = {'JAX_DEFAULT_MATMUL_PRECISION': cell['products']}
  losses = []
  for platform in ({}, {'JAX_PLATFORMS': 'cpu'}):
    with tempfile.TemporaryDirectory() as folder:
      _train(cell['job'], folder, 'log_every=1', **variables, **platform)
      rows = json.loads((pathlib.Path(folder) / 'history.json').read_text())
    losses.append([row['loss'] for row in rows if row['part'] == 'train'])
  apart = [abs(a - b) / abs(b) for a, b in zip(*losses, strict=True)]
  return {'steps': len(apart), 'first': apart[0], 'largest': max(apart)}


def _train(job: str, folder: str, *fields: str, **variables: str) -> None:
  flags = [f'--config.{field}' for field in fields]
  _python(
    'main.py',
    f'--config=configs/{job}',
    f'--workdir={folder}',
    *flags,
    **variables,
  )


def _python(*arguments: str, **variables: str) -> str:
  """What a Python of its own prints."""
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    env=os.environ | variables,
    capture_output=True,
    text=True,
    check=True,
  ).stdout


def _last_line(error: subprocess.CalledProcessError) -> str:
  """What a program that failed said last."""
  lines = error.stderr.strip().splitlines()
  return (lines or [f'exit code {error.returncode}'])[-1][:300]


def describe(cell: dict[str, Any], found: dict[str, Any]) -> str:
  """One line for a person."""
  what = ', '.join(f'{v}' for v in cell.values() if v is not None)
  if 'error' in found:
    return f'{what}: {found["error"]}'
  if cell['kind'] == 'losses':
    return (
      f'{what}: relative to the CPU {found["first"]:.1e} at step 1, at most'
      f' {found["largest"]:.1e} in {found["steps"]} steps'
    )
  rate = f'{what}: {found["images_per_second"]:,.0f} images/s'
  if cell['kind'] == 'step':
    rate += f', {found["share_of_peak"]:.0%} of the peak'
    rate += f', {found["memory_bytes"] / 2**30:.1f} GiB'
  return rate


def run(
  out: pathlib.Path, kinds: tuple[str, ...], variant: str, loop_steps: int
) -> None:
  """Measures what `out` does not have yet; UserError if something failed."""
  try:
    with out.open('a+') as file:
      file.seek(0)
      known = [json.loads(line) for line in file]
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f'{out} cannot be used ({error}); delete a damaged line, or give another '
      '--out=FILE in a folder that exists'
    ) from error
  # In a process of its own: this one would take the GPU's memory.
  try:
    device = _python('-c', _PRINT_DEVICE)
  except subprocess.CalledProcessError as error:
    said = _last_line(error).removeprefix('error: ')
    raise errors.UserError(said) from error
  failed = 0
  for cell in measurements(kinds, variant, loop_steps):
    cell = {'device': device.strip()} | cell
    rows = (row['found'] for row in known if row['cell'] == cell)
    found = next((row for row in rows if 'error' not in row), None)
    if found is None:
      found = measure(cell)
      with out.open('a') as file:
        file.write(json.dumps({'cell': cell, 'found': found}) + '\n')
    print(describe(cell, found), flush=True)
    failed += 'error' in found
  if failed:
    raise errors.UserError(
      f'{failed} measurements failed; the same command repeats them'
    )


def main() -> None:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.gpu',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--out', required=True, type=pathlib.Path)
  parser.add_argument(
    '--only', default=','.join(KINDS), help='such as step,losses'
  )
  parser.add_argument(
    '--variant', default='', help='of the jobs, such as tiny, to try it out'
  )
  parser.add_argument('--loop_steps', type=int, default=_LOOP_STEPS)
  with command_line.exit_cleanly('stopped; the same command goes on'):
    flags = parser.parse_args()
    kinds = tuple(flags.only.split(','))
    if wrong := set(kinds) - set(KINDS):
      raise errors.UserError(
        f'--only={flags.only}: {", ".join(sorted(wrong))} is none of'
        f' {", ".join(KINDS)}'
      )
    variant = f':{flags.variant}' if flags.variant else ''
    run(flags.out, kinds, variant, flags.loop_steps)


if __name__ == '__main__':
  main()

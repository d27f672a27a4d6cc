"""Holds the steps' costs on TPUs against those written down.

  python -m benchmarks.tpu_ledger [--only=TEXT] [--update]

tpu_cost.json holds what benchmarks.tpu_cost found for some steps, with a hash
of the program that was compiled. A step whose program is another one by now is
compiled again, each in a process of its own (minutes); the status is 1 if one
costs over 3 % more than is written down. --update writes down what was found,
step by step. A new step is a new entry with its flags and nothing else.
"""

import json
import pathlib
import subprocess
import sys

from absl import app
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_bool('update', False, 'Write down what was found.')
flags.DEFINE_string('only', '', 'Only the steps with this text in their flags.')

LEDGER = pathlib.Path(__file__).with_name('tpu_cost.json')
COSTS = (
  'kilocycles_per_image', 'memory_bytes', 'collectives', 'collective_bytes',
)  # fmt: skip
TOLERANCE = 0.03


def read() -> list[dict]:
  """The ledger: [{'flags': [...], 'found': {...}}, ...]."""
  return json.loads(LEDGER.read_text())


def measure(flags_: list[str], *more: str) -> dict:
  """What benchmarks.tpu_cost finds, in a process of its own."""
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.tpu_cost', *flags_, *more],
    cwd=LEDGER.parent.parent,
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise RuntimeError(
      f'{" ".join(flags_)}: status {done.returncode}\n{done.stderr[-2000:]}'
    )
  return json.loads(done.stdout.splitlines()[-1])


def worse(found: dict, written: dict) -> list[str]:
  """Which costs of a step are over 3 % higher than those written down."""
  return [
    f'{name} {found[name]:.5g}, written down {written[name]:.5g}'
    for name in COSTS
    if found[name] > written[name] * (1 + TOLERANCE)
  ]


def main(argv: list[str]) -> None:
  del argv
  ledger, complaints = read(), []
  for step in ledger:
    name = ' '.join(step['flags'])
    if FLAGS.only not in name:
      continue
    written = step.get('found')
    if written:
      program = measure(step['flags'], '--lower_only')['program']
      if program == written['program']:
        print(f'{name}: the same program', flush=True)
        continue
    found = measure(step['flags'])
    print(f'{name}: {found["kilocycles_per_image"]:.1f}', flush=True)
    complaints += [f'{name}: {c}' for c in worse(found, written or found)]
    if FLAGS.update:
      step['found'] = found
      LEDGER.write_text(json.dumps(ledger, indent=2) + '\n')
  if complaints and not FLAGS.update:
    sys.exit('error: costlier than before\n' + '\n'.join(complaints))


if __name__ == '__main__':
  app.run(main)

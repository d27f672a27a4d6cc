"""No training step costs over 3 % more on a TPU than is written down."""

import importlib.util

import pytest

from benchmarks import tpu_ledger

STEPS = {' '.join(step['flags']): step for step in tpu_ledger.read()}


def test_three_per_cent_are_told():
  for step in STEPS.values():
    assert {'program', *tpu_ledger.COSTS} <= set(step['found'])
  written = dict.fromkeys(tpu_ledger.COSTS, 100.0)
  assert not tpu_ledger.worse(dict.fromkeys(written, 103.0), written)
  for name in tpu_ledger.COSTS:
    (said,) = tpu_ledger.worse(written | {name: 103.1}, written)
    assert said == f'{name} 103.1, written down 100'


@pytest.mark.slow
@pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'),
  reason='no libtpu here: run it with make bench-test',
)
@pytest.mark.parametrize('name', STEPS)
def test_step_costs_what_is_written_down(name):
  """Compiled again only if its program is another one by now."""
  flags, written = STEPS[name]['flags'], STEPS[name]['found']
  found = tpu_ledger.measure(flags, '--lower_only')
  if found['program'] != written['program']:
    found = tpu_ledger.measure(flags)
    assert not tpu_ledger.worse(found, written), (
      'if it has to be, python -m benchmarks.tpu_ledger --update and commit'
    )

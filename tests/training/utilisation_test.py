"""How long the devices wait for images, and what they compute meanwhile."""

import itertools
import json
import threading

import pytest

from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state
from selfie_jax.training import utilisation


class Clock:
  """Stands still but for what `now` is set to."""

  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now

  def pass_by(self, seconds, values):
    """The values, each of which takes some seconds."""
    for value in values:
      self.now += seconds
      yield value


def train(clock, meter, waiting, step_seconds, steps):
  """Takes batches as the loop does; gives the metrics of a row each 10."""
  rows = []
  batches = meter.batches(clock.pass_by(waiting, range(steps + 1)))
  for step, _ in enumerate(batches):
    clock.now += step_seconds
    meter.follow(())
    meter.ended.result()
    if not step:
      meter.start(flops=3e9)
    elif step % 10 == 0:
      rows.append(meter.rates(10, 10 * (waiting + step_seconds)))
  return rows


def test_the_time_until_a_batch_is_there_is_counted():
  clock = Clock()
  meter = utilisation.Meter(clock)
  rows = train(clock, meter, waiting=0.1, step_seconds=0.3, steps=30)
  assert len(rows) == 3
  for row in rows:
    assert row['waiting_share'] == pytest.approx(0.25)
    # 3 GFLOP in 0.4 s.
    assert row['teraflops_per_device'] == pytest.approx(0.0075)
  assert meter.summary['waiting_share'] == pytest.approx(0.25)
  assert meter.summary['teraflops_per_device'] == pytest.approx(0.0075)
  assert meter.summary['first_step_seconds'] == pytest.approx(0.3)


class Step:
  """Stands for what a device computes; it ends when it is told to."""

  def __init__(self):
    self.end = threading.Event()

  def block_until_ready(self):
    assert self.end.wait(60)


def test_while_a_step_is_at_work_nothing_waits():
  clock = Clock()
  meter = utilisation.Meter(clock)
  steps = [Step(), Step(), Step()]

  def batches():
    yield
    clock.now += 1  # while the first step is at work
    yield
    clock.now += 0.5  # while the second is
    steps[1].end.set()
    meter.ended.result()
    clock.now += 0.25
    yield

  for step, _ in zip(steps, meter.batches(batches()), strict=True):
    if step is steps[1]:
      steps[0].end.set()
    meter.follow(step)
  steps[2].end.set()
  assert meter.rates(3, 2.5)['waiting_share'] == pytest.approx(0.25 / 2.5)


def test_all_batches_come_through():
  assert [*utilisation.Meter().batches(range(5))] == [*range(5)]
  assert not [*utilisation.Meter().batches([])]


@pytest.mark.parametrize(
  'waiting, steps, warnings', [(0.1, 100, 1), (0.1, 40, 0), (0.02, 100, 0)]
)
def test_long_waiting_is_warned_of_once(log_messages, waiting, steps, warnings):
  clock = Clock()
  train(clock, utilisation.Meter(clock), waiting, 0.3, steps)
  lines = [record.getMessage() for record in log_messages.records]
  assert len(lines) == warnings
  for line in lines:
    assert 'wait for images in 25 %' in line and 'cache_gib' in line


@pytest.mark.parametrize(
  'kind, peak',
  [
    ('TPU v4', 275e12),
    ('TPU v5 lite', 197e12),
    ('TPU v5', 459e12),
    ('TPU v5p', 459e12),
    ('TPU v6 lite', 918e12),
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA H100 PCIe', 756e12),
    ('NVIDIA A100-SXM4-80GB', 312e12),
    ('cpu', None),
  ],
)
def test_peak_of_a_device(kind, peak):
  assert utilisation.find_peak(kind) == peak


def test_share_of_the_peak_where_it_is_known(monkeypatch):
  monkeypatch.setitem(utilisation.PEAKS, 'cpu', 75e9)
  clock = Clock()
  meter = utilisation.Meter(clock)
  rows = train(clock, meter, waiting=0.1, step_seconds=0.3, steps=10)
  assert rows[0]['share_of_peak'] == pytest.approx(0.1)
  assert meter.summary['share_of_peak'] == pytest.approx(0.1)


def test_flops_are_those_of_the_compiled_step(
  pretrain_config, batch, shard, monkeypatch
):
  state = pretrain.create_state(pretrain_config, 10)
  step = train_state.parallel_train_step(pretrain, pretrain_config)
  compiled = step.lower(state, shard(batch, 2)).compile()
  assert utilisation.count_flops(compiled) is None  # nobody's peak
  monkeypatch.setitem(utilisation.PEAKS, 'cpu', 75e9)
  assert utilisation.count_flops(compiled) > 1e6
  assert utilisation.count_flops(step) is None


def test_results_say_it(finished):
  folder = finished('pretrain')
  found = json.loads((folder / 'results.json').read_text())['utilisation']
  assert 0 <= found['waiting_share'] < 1
  assert found['first_step_seconds'] > 0
  assert found['teraflops_per_device'] is None  # nor is a CPU's peak known
  assert found['share_of_peak'] is None
  rows = json.loads((folder / 'history.json').read_text())
  names = set(itertools.chain(*rows))
  assert not names & found.keys()  # the history has what repeats to the bit

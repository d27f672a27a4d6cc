"""How long the devices wait for images, and what they compute meanwhile."""

import itertools
import json
import threading
from unittest import mock

import jax
import numpy as np
import pytest
import small_jobs

from selfie_jax.training import reporting
from selfie_jax.training import throughput
from selfie_jax.training import train

BATCH = 32


class Clock:
  """Stands still but for what `now` is set to."""

  now = 0.0

  def __call__(self):
    return self.now

  def pass_by(self, seconds, values):
    """The values, each of which takes some seconds."""
    for value in values:
      self.now += seconds
      yield value


def make_step(act):
  """Stands for a training step of 3 GFLOP, which is compiled to itself."""
  step = mock.Mock(
    side_effect=lambda state, batch: (state, act(batch) or batch)
  )
  step.lower.return_value.compile.return_value = step
  step.cost_analysis.return_value = {'flops': 3e9}
  return step


@pytest.fixture
def clock(monkeypatch):
  monkeypatch.setitem(throughput.PEAKS, 'cpu', 75e9)
  return Clock()


def run(clock, waiting, steps):
  """Steps as the loop does; the clock, and a row of metrics each 10."""
  timer, rows = throughput.Throughput(BATCH, clock), []

  def compute(batch):
    clock.now += 0.3

  batches = timer.batches(clock.pass_by(waiting, [()] * (steps + 1)))
  for step, batch in enumerate(batches):
    timer.run(make_step(compute), 'state', batch)
    timer._ended.result()
    if step and step % 10 == 0:
      with timer.paused():
        rows.append(timer.measure())
        clock.now += 100  # an evaluation
  return timer, rows


def test_the_time_until_a_batch_is_there_is_counted(clock):
  timer, rows = run(clock, waiting=0.1, steps=30)
  assert len(rows) == 3
  for row in (*rows, timer.summary):
    assert row['waiting_share'] == pytest.approx(0.25)
    # 3 GFLOP in 0.4 s.
    assert row['teraflops_per_device'] == pytest.approx(0.0075)
    assert row['share_of_peak'] == pytest.approx(0.1)
  # Two devices; neither compilation nor evaluations count.
  assert rows[0]['images_per_second_per_device'] == pytest.approx(BATCH / 0.8)
  assert timer.images_per_second == pytest.approx(BATCH / 0.4)
  assert timer.summary['first_step_seconds'] == pytest.approx(0.3)


def test_time_adds_up_over_the_processes_of_a_run(clock):
  timer, _ = run(clock, waiting=0.1, steps=10)
  before = {'steps': 30, 'seconds': 4.0, 'wall_seconds': 1e6}
  timer.restore(before)
  assert timer.progress['steps'] == 40
  assert timer.progress['seconds'] == pytest.approx(8)
  assert timer.progress['wall_seconds'] == pytest.approx(1e6 + clock.now)
  assert timer.images_per_second == pytest.approx(40 * BATCH / 8)
  assert throughput.Throughput(BATCH, clock).images_per_second is None


class Output:
  """Stands for what a device computes; it is ready when it is told to be."""

  def __init__(self):
    self.end = threading.Event()

  def block_until_ready(self):
    assert self.end.wait(60)


def test_while_a_step_is_at_work_nothing_waits_and_one_is_in_flight(clock):
  """SIGTERM is not to wait for more steps than the two."""
  timer = throughput.Throughput(BATCH, clock)
  outputs = [Output(), Output(), Output()]

  def batches():
    yield
    clock.now += 1  # while the second step is at work
    yield
    clock.now += 0.5  # and still
    outputs[1].end.set()
    timer._ended.result()
    clock.now += 0.25
    yield

  outputs[0].end.set()
  for output, _ in zip(outputs, timer.batches(batches()), strict=True):
    timer.run(make_step(lambda batch: None), 'state', output)
  clock.now += 0.75
  last = Output()
  threading.Timer(0.1, outputs[2].end.set).start()
  timer.run(None, 'state', last)  # which waits for the one before
  assert outputs[2].end.is_set()
  last.end.set()
  with timer.paused():
    assert timer.measure()['waiting_share'] == pytest.approx(1.25 / 2.5)


@pytest.mark.parametrize(
  'waiting, steps, warnings', [(0.1, 100, 1), (0.1, 40, 0), (0.02, 100, 0)]
)
def test_long_waiting_is_warned_of_once(
  clock, log_messages, waiting, steps, warnings
):
  run(clock, waiting, steps)
  lines = [record.getMessage() for record in log_messages.records]
  assert len(lines) == warnings
  for line in lines:
    assert 'wait for images in 25 %' in line and 'cache_gib' in line


def test_peak_and_flops_are_of_the_device_and_the_step(monkeypatch):
  assert throughput.find_peak('TPU v5 lite') == 197e12
  assert throughput.find_peak('TPU v5p') == 459e12
  assert throughput.find_peak('NVIDIA H100 PCIe') == 756e12
  assert throughput.find_peak('cpu') is None
  compiled = jax.jit(lambda x: x @ x).lower(np.ones((64, 64))).compile()
  assert throughput.count_flops(compiled) is None  # no peak to compare with
  monkeypatch.setitem(throughput.PEAKS, 'cpu', 75e9)
  assert throughput.count_flops(compiled) == pytest.approx(2 * 64**3, rel=0.1)


def test_results_say_it(finished):
  folder = finished('pretrain')
  found = json.loads((folder / 'results.json').read_text())['utilisation']
  assert 0 <= found['waiting_share'] < 1 and found['first_step_seconds'] > 0
  assert found['share_of_peak'] is None  # for a CPU's is not known
  assert 'peak_memory_bytes' in found
  rows = json.loads((folder / 'history.json').read_text())
  names = set(itertools.chain(*rows))
  assert not names & found.keys()  # the history has what repeats to the bit


def test_asked_for_steps_are_traced_and_change_no_number(
  finished, tmp_path, monkeypatch, log_messages
):
  """Or it is said that so many are not left."""
  monkeypatch.setattr(reporting, 'TRACE_AFTER', 2)
  config = small_jobs.small_job('pretrain')
  config.profile_steps = 2
  train.train_and_evaluate(config, tmp_path)
  # Where TensorBoard's profiler looks for a trace.
  (trace,) = tmp_path.glob('plugins/profile/*/*.xplane.pb')
  assert trace.stat().st_size > 1000
  assert 'No steps are traced' not in log_messages.text
  monkeypatch.setattr(reporting, 'TRACE_AFTER', 11)
  with reporting.Reporter(config, tmp_path) as log, log.follow_steps(0):
    assert 'of 6 no 2 are left after the first 11' in log_messages.text
  small_jobs.same_end(finished('pretrain'), tmp_path)

"""The clock of a run: steps, seconds, waiting for images, FLOPs."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import dataclasses
import logging
import time
from typing import Any

import jax

logger = logging.getLogger(__name__)

# bfloat16 FLOP/s of a chip, by the start of jax's device_kind: the pages of
# docs.cloud.google.com/tpu/docs about each TPU, NVIDIA's data sheets (dense,
# without sparsity).
PEAKS = {
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v6': 918e12,
  'NVIDIA A100': 312e12,
  'NVIDIA H100 NVL': 835e12,
  'NVIDIA H100 PCIe': 756e12,
  'NVIDIA H100': 989e12,
  'NVIDIA H200': 989e12,
}
TOO_LONG = 0.1  # share of the time that devices wait
STEPS = 50  # before that is judged


@dataclasses.dataclass
class _Count:
  steps: int = 0
  seconds: float = 0.0
  waited: float = 0.0  # seconds without a step at work or a batch for one


class Throughput:
  """Runs a job's training steps and times them.

  Compilation with the first step, evaluation and saving are not counted.
  """

  def __init__(
    self, batch_size: int, clock: Callable[[], float] = time.perf_counter
  ):
    self._batch_size, self._clock = batch_size, clock
    self._created = self._running_since = clock()
    self._row, self._total = _Count(), _Count()  # since a row, since the start
    # Of earlier processes of the run.
    self._before = {'steps': 0, 'seconds': 0.0, 'wall_seconds': 0.0}
    self._compiled: Callable[..., Any] | None = None
    self._first_step_seconds: float | None = None  # with compilation
    self._flops: float | None = None  # of a step, on each device
    self._ended: futures.Future[float] | None = None  # when the last step did
    self._watch = futures.ThreadPoolExecutor(1, 'steps')
    self._is_warned = False

  def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
    """The same batches; counts the time that devices wait for each."""
    begun = self._clock()
    for batch in batches:
      if self._ended and self._ended.done():
        self._row.waited += self._clock() - max(begun, self._ended.result())
      yield batch
      begun = self._clock()

  def run(self, train_step, state, batch) -> tuple[Any, Any]:
    """`train_step(state, batch)`, compiled by the first call.

    That returns when the step has ended, later ones when the step before has: a
    device that has its next step is no faster with more, and SIGTERM would have
    to wait for all of them.
    """
    if self._compiled is None:
      return self._run_first(train_step, state, batch)
    state, metrics = self._compiled(state, batch)
    self._row.steps += 1
    before, self._ended = self._ended, self._watch.submit(self._wait, metrics)
    before.result()
    return state, metrics

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Keeps evaluation and saving out of the rate."""
    self._row.seconds += self._clock() - self._running_since
    yield
    self._running_since = self._clock()

  def measure(self) -> dict[str, float]:
    """Metrics of the steps since the last call, while paused; {} for none."""
    row, self._row = self._row, _Count()
    if not row.steps:
      return {}
    self._total.steps += row.steps
    self._total.seconds += row.seconds
    self._total.waited += row.waited
    self._warn_of_waiting()
    rate = row.steps * self._batch_size / row.seconds
    return {
      'images_per_second_per_device': rate / jax.device_count()
    } | self._shares(row)

  @property
  def summary(self) -> dict[str, float | None]:
    """Since the last start, for results.json; None for what is not known."""
    shares = self._shares(self._total) if self._total.steps else {}
    memory = jax.local_devices()[0].memory_stats() or {}
    return {
      'waiting_share': shares.get('waiting_share'),
      'first_step_seconds': self._first_step_seconds,
      'teraflops_per_device': shares.get('teraflops_per_device'),
      'share_of_peak': shares.get('share_of_peak'),
      'peak_memory_bytes': memory.get('peak_bytes_in_use'),
    }

  @property
  def progress(self) -> dict[str, float]:
    """For a checkpoint: of all processes that led to the present state."""
    passed = self._clock() - self._created
    return {
      'steps': self._before['steps'] + self._total.steps,
      'seconds': self._before['seconds'] + self._total.seconds,
      'wall_seconds': self._before['wall_seconds'] + passed,
    }

  def restore(self, progress: dict[str, float]) -> None:
    self._before = progress

  @property
  def images_per_second(self) -> float | None:
    """Of the whole run; None before the first row."""
    steps, seconds = self.progress['steps'], self.progress['seconds']
    return steps * self._batch_size / seconds if seconds else None

  def _run_first(self, train_step, state, batch) -> tuple[Any, Any]:
    begun = self._clock()
    if jax.process_count() == 1:  # else only a call knows the others' shares
      train_step = train_step.lower(state, batch).compile()
      self._flops = count_flops(train_step)
    self._compiled = train_step
    outputs = train_step(state, batch)
    self._ended = self._watch.submit(self._wait, outputs)
    jax.block_until_ready(outputs)
    self._running_since = self._clock()
    self._first_step_seconds = self._running_since - begun
    return outputs

  def _wait(self, outputs: Any) -> float:
    jax.block_until_ready(outputs)
    return self._clock()

  def _shares(self, count: _Count) -> dict[str, float]:
    shares = {'waiting_share': count.waited / count.seconds}
    if self._flops:
      rate = self._flops * count.steps / count.seconds
      peak = find_peak(jax.local_devices()[0].device_kind)
      shares['teraflops_per_device'] = rate / 1e12
      shares['share_of_peak'] = rate / peak
    return shares

  def _warn_of_waiting(self) -> None:
    share = self._total.waited / self._total.seconds
    if self._is_warned or self._total.steps < STEPS or share <= TOO_LONG:
      return
    self._is_warned = True
    logger.warning(
      'The devices wait for images in %.0f %% of the time. Keep the set in '
      'memory (--config.dataset.cache_gib, if the machine has so much), add '
      'CPU cores, or store the images smaller: '
      'docs/performance.md#when-the-devices-wait',
      100 * share,
    )


def count_flops(train_step) -> float | None:
  """FLOPs of a compiled step on each device; None if no peak is known there."""
  if find_peak(jax.local_devices()[0].device_kind) is None:
    return None
  return (train_step.cost_analysis() or {}).get('flops')


def find_peak(kind: str) -> float | None:
  """FLOP/s of a device of this kind; None if unknown."""
  return next((p for name, p in PEAKS.items() if kind.startswith(name)), None)

"""Whether the devices work or wait for images."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
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
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'NVIDIA A100': 312e12,
  'NVIDIA H100 PCIe': 756e12,
  'NVIDIA H100': 989e12,
  'NVIDIA H200': 989e12,
}
TOO_LONG = 0.1  # share of the time
STEPS = 50  # after which it is judged


class Meter:
  """Measures, beside the rate, what becomes of a run's time in one process.

  Attributes:
    first_step_seconds: of tracing, compiling and running the first step.
    waiting_share: of the time of all other steps, in which none was at work
      until its batch was there.
    ended: when the step that was begun last has ended, if one was begun.
  """

  first_step_seconds: float | None = None
  waiting_share: float | None = None
  ended: 'futures.Future[float] | None' = None

  def __init__(self, clock: Callable[[], float] = time.perf_counter):
    self._clock = clock
    self._waited = self._given = 0.0  # the former since a row
    self._all_steps, self._all_waited, self._all_seconds = 0, 0.0, 0.0
    self._flops: float | None = None  # of a step, on each device
    self._is_warned = False
    self._watch = futures.ThreadPoolExecutor(1, 'steps')

  def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
    """The same batches; until one is there, and no step at work, is waiting."""
    begun = self._clock()
    for batch in batches:
      self._given = self._clock()
      if self.ended and self.ended.done():
        self._waited += self._given - max(begun, self.ended.result())
      yield batch
      begun = self._clock()

  def follow(self, outputs: Any) -> None:
    """Follows a step that was begun; returns when the one before has ended.

    A device that has its next step would be no faster for more, and SIGTERM
    would have to wait for all of them.
    """

    def wait() -> float:
      jax.block_until_ready(outputs)
      return self._clock()

    before, self.ended = self.ended, self._watch.submit(wait)
    if before:
      before.result()

  def start(self, flops: float | None) -> None:
    """To be called when the first step is done; see count_flops."""
    self.first_step_seconds = self._clock() - self._given
    self._waited, self._flops = 0.0, flops

  def rates(self, steps: int, seconds: float) -> dict[str, float]:
    """Metrics of the steps since the last call, which took so many seconds."""
    self._all_steps += steps
    self._all_seconds += seconds
    self._all_waited += self._waited
    self.waiting_share = self._all_waited / self._all_seconds
    metrics = {'waiting_share': self._waited / seconds}
    self._waited = 0.0
    if self._flops:
      rate = self._flops * steps / seconds
      metrics['teraflops_per_device'] = rate / 1e12
      if peak := find_peak(jax.local_devices()[0].device_kind):
        metrics['share_of_peak'] = rate / peak
    if (
      self.waiting_share > TOO_LONG
      and self._all_steps >= STEPS
      and not self._is_warned
    ):
      self._is_warned = True
      logger.warning(
        'The devices wait for images in %.0f %% of the time. Have the set in '
        'memory (--config.dataset.cache_gib, if the machine has so much), give '
        'it more CPU cores, or store the images smaller: '
        'docs/performance.md#when-the-devices-wait',
        100 * self.waiting_share,
      )
    return metrics

  @property
  def summary(self) -> dict[str, float | None]:
    """For results.json; None for what is not known."""
    rate = None
    if self._flops and self._all_seconds:
      rate = self._flops * self._all_steps / self._all_seconds
    device = jax.local_devices()[0]
    peak = find_peak(device.device_kind)
    memory = device.memory_stats() or {}
    return {
      'waiting_share': self.waiting_share,
      'first_step_seconds': self.first_step_seconds,
      'teraflops_per_device': rate and rate / 1e12,
      'share_of_peak': rate / peak if rate and peak else None,
      'peak_memory_bytes': memory.get('peak_bytes_in_use'),
    }


def count_flops(train_step) -> float | None:
  """FLOPs of a step on each device, as XLA counts them.

  Args:
    train_step: compiled; None is known of one that its first call compiles.

  Returns:
    None also where no peak is known to hold them against.
  """
  is_compiled = hasattr(train_step, 'cost_analysis')
  if not is_compiled or find_peak(jax.local_devices()[0].device_kind) is None:
    return None
  return (train_step.cost_analysis() or {}).get('flops')


def find_peak(kind: str) -> float | None:
  """FLOP/s of a device of this kind; None if unknown."""
  return next((p for name, p in PEAKS.items() if kind.startswith(name)), None)

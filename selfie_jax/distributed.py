"""Several processes, one for each host, that train one model together."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
import os
import pickle
import sys
import time
import traceback
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

from selfie_jax import errors

logger = logging.getLogger(__name__)

_NO_CLUSTER = 'coordinator_address should be defined'  # jax says so


def initialize(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  automatic: bool | None,
  heartbeat_seconds: int,
) -> None:
  """Joins the processes of a job; to be called before any computation.

  Args:
    coordinator: host:port of process 0; None: JAX_COORDINATOR_ADDRESS.
    num_processes: None: JAX_NUM_PROCESSES.
    process_id: 0 to num_processes - 1; None: JAX_PROCESS_ID.
    automatic: without a coordinator, whether jax finds all three by itself,
      as it does on TPU pods, with Slurm and with Open MPI. None: only where jax
      sees a TPU, and without an error if that TPU is not part of a pod.
    heartbeat_seconds: how long a process may be silent before all others end.

  Raises:
    UserError: only some of the three are given, or the others are not found.
  """
  coordinator = coordinator or os.environ.get('JAX_COORDINATOR_ADDRESS')
  num_processes = _number(num_processes, 'JAX_NUM_PROCESSES')
  process_id = _number(process_id, 'JAX_PROCESS_ID')
  given = [coordinator, num_processes, process_id]
  alone = given == [None] * 3
  # Where jax finds the chips of a TPU when it is imported, it says so there.
  sees_tpu = 'tpu' in (jax.config.jax_platforms or '')
  jax_finds_them = sees_tpu if automatic is None else automatic
  if alone and not jax_finds_them:
    return
  if None in given and not jax_finds_them:
    raise errors.UserError(
      'a job of several processes needs --coordinator=HOST:PORT, '
      '--num_processes=N and --process_id=I (0 to N - 1), or none of them; '
      f'given: {coordinator}, {num_processes}, {process_id}'
    )
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      heartbeat_timeout_seconds=heartbeat_seconds,
    )
  except Exception as error:  # clusters have exceptions of their own
    if alone and _NO_CLUSTER in str(error):
      if not automatic:
        return
      raise errors.UserError(
        '--distributed finds nothing here that says which processes there are '
        '(it knows TPU pods, Slurm and Open MPI): leave it out for one '
        'process, or give --coordinator=HOST:PORT, --num_processes=N and '
        '--process_id=I'
      ) from error
    raise errors.UserError(
      'the processes of the job did not find each other '
      f'({errors.reason(error)}); check --coordinator=HOST:PORT, '
      '--num_processes and --process_id, and that all processes were started'
    ) from error


def _number(given: int | None, variable: str) -> int | None:
  """What is given, or else the environment's; None if neither is."""
  text = os.environ.get(variable)
  if given is not None or not text:
    return given
  try:
    return int(text)
  except ValueError:
    errors.invalid(f'{variable}={text}', 'a whole number')


@contextlib.contextmanager
def abort_all_on_error() -> Iterator[None]:
  """In a job of several processes, ends this one at once if it fails.

  A normal exit waits for all processes, and the others may be waiting for this
  one. They end when the coordinator or a step's collective tells them.
  """
  try:
    yield
  except errors.Preempted:
    raise  # all processes stop at the same step
  except Exception as error:
    if jax.process_count() == 1:
      raise
    if isinstance(error, errors.UserError):
      sys.stderr.write(f'error: {error}\n')
    else:
      traceback.print_exc()
      sys.stderr.write(
        'error: this process cannot continue, perhaps because another one of '
        'the job has died. Start all of them again; the run continues from its '
        'last checkpoint\n'
      )
    sys.stderr.flush()
    if is_primary():
      time.sleep(1)  # its end would end the others before they say why
    os._exit(getattr(error, 'exit_code', 1))


def is_primary() -> bool:
  """Whether this process writes what is written once: logs and results."""
  return jax.process_index() == 0


def broadcast_from_primary(make: Callable[[], Any]) -> Any:
  """Calls `make` in the primary process and returns its result in all.

  All processes must call this. The result is pickled; a UserError of `make` is
  raised in all of them.
  """
  if jax.process_count() == 1:
    return make()
  content = b''
  if is_primary():
    try:
      content = pickle.dumps((make(), None))
    except errors.UserError as error:
      content = pickle.dumps((None, error))
  broadcast = multihost_utils.broadcast_one_to_all
  data = np.zeros(int(broadcast(np.int32(len(content)))), np.uint8)
  data[: len(content)] = np.frombuffer(content, np.uint8)
  value, error = pickle.loads(np.asarray(broadcast(data), np.uint8).tobytes())
  if error:
    raise error
  return value


def gather(value: Any) -> list[Any]:
  """The values of all processes, in their order; all must call this.

  They are pickled.
  """
  if jax.process_count() == 1:
    return [value]
  content = np.frombuffer(pickle.dumps(value), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(content.size))
  padded = np.zeros(sizes.max(), np.uint8)
  padded[: content.size] = content
  rows = multihost_utils.process_allgather(padded)
  return [pickle.loads(np.asarray(row, np.uint8).tobytes()) for row in rows]


def check_equal(value: Any, what: str) -> None:
  """Raises UserError, in all processes, unless `value` is the same in all.

  All processes must call this. `what` names the value in the message.
  """
  first, *others = gather(value)
  for process, other in enumerate(others, 1):
    if other != first:
      raise errors.UserError(
        f'process {process} of the job sees other {what} than process 0; make '
        'sure that all of them see the same files, then start all again'
      )


def local_sharding(*axes: str) -> jax.sharding.NamedSharding:
  """Of an array on the local devices: a copy on each of them.

  With 'batch' its first axis is split over them instead.
  """
  mesh = jax.sharding.Mesh(jax.local_devices(), ('batch',))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def log_devices() -> None:
  """Logs the devices, with a warning if it is a CPU by mistake."""
  devices, processes = jax.devices(), jax.process_count()
  spread = f' in {processes} processes' if processes > 1 else ''
  logger.info('%d x %s%s', len(devices), devices[0].device_kind, spread)
  asked_for_cpu = jax.config.jax_platforms == 'cpu'
  if devices[0].platform == 'cpu' and not asked_for_cpu:
    logger.warning(
      '*** NO TPU OR GPU FOUND: RUNNING ON THE CPU, much slower. For an '
      'accelerator install requirements-tpu.txt or requirements-gpu.txt; '
      'JAX_PLATFORMS=cpu hides this line. ***'
    )

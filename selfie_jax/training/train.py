"""The one loop: it knows batches, steps and checkpoints, but no task.

A task is a module with four functions: create_state, train_step, eval_step,
summary (pretrain.py has them documented).
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import logging
import os
from typing import Any

from clu import parameter_overview
from etils import epath
import jax
import ml_collections
import numpy as np

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax import figures as figures_lib
from selfie_jax.data import input_pipeline
from selfie_jax.probes import online_knn
from selfie_jax.storage import checkpoints
from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state as task_lib
from selfie_jax.training import evaluation
from selfie_jax.training import job
from selfie_jax.training import preemption
from selfie_jax.training import reporting

logger = logging.getLogger(__name__)

TASKS = {'pretrain': pretrain, 'finetune': finetune}
PICTURED = 12  # test examples in a task's pictures

# Parts of the history, with the steps between two of their rows and what makes
# one: (state, function asked whether to stop) -> values, None if stopped.
Monitors = dict[str, tuple[int, Callable[..., dict[str, float] | None]]]


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> dict[str, Any]:
  """Runs the job of `config` in `workdir`, or goes on with it.

  The state is, in this order: (1) the newest checkpoint of the workdir,
  (2) what the task makes of config.init_from, (3) random weights.

  Args:
    config: see configs/common.py.
    workdir: the run's folder; made if it is not there.

  Returns:
    What workdir/results.json holds.

  Raises:
    UserError: the config cannot work, the workdir holds another job or cannot
      be written to, another process runs in it, no checkpoint can be read, or
      the job has run there on other images.
    Diverged: a loss, a gradient or an evaluation is not finite.
    Preempted: SIGTERM came; all is saved.
  """
  return job.run(config, workdir, _run)


def _run(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> dict[str, Any]:
  """Runs the job in a folder that is its own."""
  task = TASKS[config.mode]
  train_source, test_source = input_pipeline.open_sources(
    config, distributed.from_primary
  )
  facts = {'train': train_source.facts, 'test': test_source.facts}
  distributed.check_equal(facts, 'images')
  config_lib.check_same_data(facts, workdir)
  train_indices, parts = evaluation.choose_parts(
    config, train_source, test_source
  )
  state = task.create_state(config, train_source.num_classes)
  # Laid out as the steps return it, so that they are compiled once.
  mesh = jax.sharding.Mesh(jax.local_devices(), (task_lib.AXIS,))
  state = jax.device_put(
    state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  )
  evaluate = evaluation.create(task, config, parts)
  monitored = 'validation' if 'validation' in parts else 'test'
  # part of the history: (steps between two rows, function that makes one)
  monitors = {
    monitored: (
      config.eval_every,
      lambda state, is_stopped: evaluate(state, monitored, is_stopped),
    )
  }
  if config.mode == 'pretrain' and config.knn.every:
    monitors[online_knn.PART] = (
      config.knn.every,
      online_knn.create(config, train_source),
    )
  logger.info(
    '\n%s',
    parameter_overview.get_parameter_overview(
      state.params, include_stats=False
    ),
  )

  if distributed.is_primary():
    config_lib.save(config, workdir)
    config_lib.save_data(facts, workdir)
  with (
    reporting.Reporter(config, workdir) as reporter,
    checkpoints.open_manager(
      workdir,
      config.keep_checkpoints,
      lambda: checkpoints.best_step(reporter.history),
    ) as manager,
  ):
    if resumed := checkpoints.resume(manager, state):
      state, progress = resumed
      reporter.restore(progress)
      logger.info(
        'Continuing from step %d of %d', state.step, config.total_steps
      )
    batches = input_pipeline.train_batches(
      train_source,
      train_indices,
      config,
      int(state.step),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    with _explained(manager):
      state = _train(task, config, state, batches, monitors, manager, reporter)
      state, evaluations = _choose_and_test(
        state, monitored, evaluate, manager, reporter
      )
    pictured = next(
      input_pipeline.eval_batches(
        test_source, np.arange(min(PICTURED, test_source.size)), PICTURED
      )
    )
    metrics, figures = task.summary(config, state, evaluations, pictured)
    for row in reporter.history:
      if row['part'] == online_knn.PART:
        metrics['knn_accuracy'] = row['knn_accuracy']  # in the end the last
    figures['curves'] = figures_lib.curves(reporter.history)
    return reporter.finish(metrics, figures, int(state.step))


def _train(
  task,
  config,
  state,
  batches,
  monitors: Monitors,
  manager,
  reporter: reporting.Reporter,
) -> task_lib.TrainState:
  """Steps to config.total_steps, with evaluations and checkpoints between.

  A checkpoint comes before the evaluation of its step, which is made up for
  when the run is started again in between.
  """
  train_step = jax.pmap(
    functools.partial(task.train_step, config=config),
    task_lib.AXIS,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
  )
  first_step = int(state.step)

  def is_due(step: int, every: int) -> bool:
    return step % every == 0 or step == config.total_steps

  def save_and_stop(step: int):
    checkpoints.save(manager, state, reporter.progress)
    checkpoints.wait(manager)
    raise errors.Preempted(
      f'told to stop (SIGTERM): saved step {step} of {config.total_steps}; '
      'the same command goes on from there'
    )

  def monitor(step: int) -> None:
    for part, (every, evaluate) in monitors.items():
      if is_due(step, every) and not reporter.has_row(step, part):
        values = evaluate(state, lambda: notice.given)
        if values is None:
          save_and_stop(step)
        reporter.row(step, part, values)

  with (
    reporter.bar(first_step) as bar,
    preemption.Notice() as notice,
  ):
    if first_step:
      monitor(first_step)
    logger.info('Compiling the first step; on CPUs this takes up to a minute')
    for step, batch in enumerate(batches, start=first_step + 1):
      state, metrics = train_step(
        state, input_pipeline.shard(batch, jax.local_device_count())
      )
      reporter.step(step, metrics)
      bar.update()
      if step == first_step + 1:
        jax.block_until_ready(state)  # compilation is no part of the rate
        reporter.start_clock()
      if is_due(step, config.log_every):
        reporter.train_row(step)
      if notice.reached(manager, step):
        save_and_stop(step)
      evaluated = any(is_due(step, every) for every, _ in monitors.values())
      # One of the steps evaluated on the validation part is to be tested.
      saved = is_due(step, config.checkpoint_every) or (
        'validation' in monitors and is_due(step, config.eval_every)
      )
      if evaluated or saved:
        jax.block_until_ready(state)
        with reporter.pause():
          if saved:
            checkpoints.save(manager, state, reporter.progress)
          if evaluated:
            monitor(step)
    checkpoints.wait(manager)
  return state


def _choose_and_test(
  state,
  monitored: str,
  evaluate: evaluation.Evaluate,
  manager,
  reporter: reporting.Reporter,
):
  """The state to keep and its evaluations; reads the test set once.

  With a validation part that is the checkpoint best on it (the later one of
  two equals), else the last. What was monitored on the test set needs no
  second reading.
  """
  rows = [row for row in reporter.history if row['part'] == monitored]
  if monitored == 'test':
    return state, {'test': rows[-1]}
  state = checkpoints.restore_best(manager, state, reporter.history)
  step = int(state.step)
  logger.info(
    'Testing the checkpoint of step %d, the best on the validation part', step
  )
  values = evaluate(state, 'test')
  reporter.row(step, 'test', values)
  best = next(row for row in rows if row['step'] == step)
  return state, {'validation': best, 'test': values}


@contextlib.contextmanager
def _explained(manager) -> Iterator[None]:
  """Says which checkpoint is the last when the numbers have gone wrong."""
  try:
    yield
  except reporting.NonFinite as error:
    checkpoints.wait(manager)
    good = manager.latest_step()
    raise errors.Diverged(
      f'{error}. The run was stopped; '
      + (
        f'the last checkpoint is that of step {good}'
        if good
        else 'there was no checkpoint yet'
      )
      + '. Try a lower --config.optimizer.learning_rate in another --workdir'
    ) from error

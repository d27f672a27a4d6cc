"""The one loop: it knows batches, steps and checkpoints, but no task.

A task is a module with four functions: create_state, train_step, eval_step,
summary (tasks/pretrain.py has them documented).
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import logging
import os
from typing import Any

from clu import parameter_overview
from etils import epath
import jax
import ml_collections
import numpy as np

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.storage import checkpoints
from selfie_jax.storage import run_metadata
from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state
from selfie_jax.training import chance
from selfie_jax.training import evaluation
from selfie_jax.training import job
from selfie_jax.training import preemption
from selfie_jax.training import profiling
from selfie_jax.training import reporting
from selfie_jax.training import results as results_lib
from selfie_jax.training import start
from selfie_jax.training import utilisation

logger = logging.getLogger(__name__)

TASKS = {'pretrain': pretrain, 'finetune': finetune}  # by the config's mode
PICTURED = 12  # test examples in a task's pictures


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str],
  monitors: Sequence[evaluation.CreateMonitor] = (),
) -> dict[str, Any]:
  """Runs the job of `config` in `workdir`, or goes on with it.

  Args:
    config: see configs/common.py.
    workdir: the run's folder; made if it is not there.
    monitors: what looks at the state meanwhile, beside the evaluation.

  Returns:
    What workdir/results.json holds.

  Raises:
    UserError: the config cannot work, the workdir holds another job or cannot
      be written to, another process runs in it, no checkpoint can be read, or
      the job has run there on other images.
    Diverged: a loss, a gradient or an evaluation is not finite.
    Preempted: SIGTERM came; all is saved.
  """
  if results := job.finished(config, workdir):
    return results
  with job.claim(workdir) as folder:
    return _run(config, folder, monitors)


def _run(
  config: ml_collections.ConfigDict,
  workdir: epath.Path,
  monitors: Sequence[evaluation.CreateMonitor],
) -> dict[str, Any]:
  """Runs the job in a folder that is its own."""
  task = TASKS[config.mode]
  train_source, test_source = batches_lib.open_sources(config)
  data = {'train': train_source.metadata, 'test': test_source.metadata}
  distributed.check_equal(data, 'images')
  run_metadata.check_data(data, workdir)
  train_indices, splits = evaluation.choose_splits(
    config, train_source, test_source
  )
  evaluate = evaluation.Evaluation(task, config, splits)
  own = evaluation.own_monitor(config, splits, evaluate)
  others = [create(config, train_source) for create in monitors]

  reporter = reporting.Reporter(config, workdir)
  with checkpoints.open_manager(
    workdir,
    config.keep_checkpoints,
    lambda: checkpoints.best_step(reporter.history),
  ) as manager:
    state, progress = start.restore_or_create(
      task, config, train_source.num_classes, manager
    )
    logger.info(
      '\n%s',
      parameter_overview.get_parameter_overview(
        state.params, include_stats=False
      ),
    )
    run_metadata.save(config, data, workdir)
    if progress:
      reporter.restore(progress)
    batches = batches_lib.train_batches(
      train_source,
      train_indices,
      config,
      int(state.step),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    profile = profiling.create(config, int(state.step), workdir)
    with reporter, _explained(manager):
      state = _train(
        task, config, state, batches, [own, *others], profile, manager, reporter
      )
      state, evaluations = evaluation.test_best(
        state, own.part, evaluate, manager, reporter
      )
      pictured = next(
        batches_lib.eval_batches(
          test_source, np.arange(min(PICTURED, test_source.size)), PICTURED
        )
      )
      metrics, arrays = task.summary(config, state, evaluations, pictured)
      for monitor in others:
        metrics |= reporter.rows(monitor.part)[config.total_steps]
      from selfie_jax import figures as figures_lib  # loads matplotlib

      figures = {'curves': figures_lib.curves(reporter.history)}
      if arrays:
        figures['patches'] = figures_lib.patch_puzzle(
          **arrays, patch_size=config.patch_size
        )
      at_chance = chance.is_guess(config, reporter.history, own)
      return results_lib.write(
        config, workdir, reporter, metrics, figures, state, at_chance
      )


def _train(
  task,
  config,
  state,
  batches,
  monitors: Sequence[evaluation.Monitor],
  profile: Callable[[int], Any],
  manager,
  reporter: reporting.Reporter,
) -> train_state.TrainState:
  """Steps to config.total_steps, with evaluations and checkpoints between.

  A checkpoint comes before the evaluation of its step, which is made up for
  when the run is started again in between.
  """
  train_step = train_state.parallel_train_step(task, config)
  first_step = int(state.step)

  def is_due(step: int, every: int) -> bool:
    return step % every == 0 or step == config.total_steps

  def save_and_stop(step: int):
    checkpoints.save(manager, state, reporter.progress)
    checkpoints.wait(manager)
    raise errors.Preempted(
      f'stopped by SIGTERM: saved step {step} of {config.total_steps}; '
      'the same command goes on from there'
    )

  def look(step: int) -> None:
    for monitor in monitors:
      done = reporter.rows(monitor.part)
      if is_due(step, monitor.every) and step not in done:
        values = monitor.evaluate(state, is_stopped=lambda: notice.given)
        if values is None:
          save_and_stop(step)
        reporter.row(step, monitor.part, values)
        chance.warn(config, reporter.history, monitor)

  with reporter.bar(first_step) as bar, preemption.Notice() as notice:
    if first_step:
      look(first_step)
    logger.info('Compiling the first step; on CPUs this takes up to a minute')
    batches = reporter.meter.batches(batches)
    for step, batch in enumerate(batches, start=first_step + 1):
      batch = batches_lib.shard(batch, jax.local_device_count())
      if step == first_step + 1 and jax.process_count() == 1:
        train_step = train_step.lower(state, batch).compile()
      state, metrics = train_step(state, batch)
      reporter.meter.follow(metrics)
      reporter.step(step, metrics)
      bar.update()
      if step == first_step + 1:
        jax.block_until_ready(state)  # compilation is no part of the rate
        reporter.start_clock(utilisation.count_flops(train_step))
        for monitor in monitors:
          monitor.prepare(state)
      profile(step)
      if is_due(step, config.log_every):
        reporter.train_row(step)
      if notice.reached(manager, step):
        save_and_stop(step)
      evaluated = any(is_due(step, monitor.every) for monitor in monitors)
      # One of the steps evaluated on the validation part is to be tested.
      saved = is_due(step, config.checkpoint_every) or (
        monitors[0].part == 'validation' and is_due(step, config.eval_every)
      )
      if evaluated or saved:
        jax.block_until_ready(state)
        with reporter.pause():
          if saved:
            checkpoints.save(manager, state, reporter.progress)
          if evaluated:
            look(step)
    checkpoints.wait(manager)
  return state


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

"""The one loop: it knows batches, steps and checkpoints, but no task.

A task is a module with four functions: create_state, train_step, eval_step,
summary (tasks/pretrain.py has them documented).
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import logging
import os
from typing import Any
from typing import NoReturn

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
from selfie_jax.training import evaluation as evaluation_lib
from selfie_jax.training import preemption as preemption_lib
from selfie_jax.training import reporting
from selfie_jax.training import results as results_lib
from selfie_jax.training import start

logger = logging.getLogger(__name__)

TASKS = {'pretrain': pretrain, 'finetune': finetune}  # by the config's mode
PICTURED = 12  # test examples in a task's pictures


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str],
  evaluators: Sequence[evaluation_lib.CreateEvaluator] = (),
) -> dict[str, Any]:
  """Runs the job of `config` in `workdir`, or resumes it.

  Args:
    config: see configs/common.py.
    workdir: the run's folder; made if it is not there.
    evaluators: make what evaluates the state too, beside the job's own
      evaluation.

  Returns:
    What workdir/results.json holds.

  Raises:
    UserError: the config cannot work, the workdir holds another job or cannot
      be written to, another process runs in it, no checkpoint can be read, or
      the job has run there on other images.
    Diverged: a loss, a gradient or an evaluation is not finite.
    Preempted: SIGTERM came; all is saved.
  """
  with start.open_workdir(config, workdir) as (folder, results):
    return results or _run(config, folder, evaluators)


def _run(config, workdir: epath.Path, create_evaluators) -> dict[str, Any]:
  """Runs the job in its own folder."""
  task = TASKS[config.mode]
  train_source, test_source = batches_lib.open_sources(config)
  data = {'train': train_source.metadata, 'test': test_source.metadata}
  identity = start.identify(config, data, workdir)
  indices, splits = evaluation_lib.choose_splits(
    config, train_source, test_source
  )
  evaluation = evaluation_lib.Evaluation(task, config, splits)
  others = [create(config, train_source) for create in create_evaluators]
  reporter = reporting.Reporter(config, workdir)
  with checkpoints.Manager(workdir, config.keep_checkpoints) as manager:
    state, progress, reporter.identity = start.restore_or_create(
      task, config, train_source.num_classes, manager, identity
    )
    start.save(config, data, reporter.identity, workdir)
    if progress:
      reporter.restore(progress)
    manager.history = reporter.history  # which goes on growing
    batches = batches_lib.train_batches(
      train_source,
      indices,
      config,
      int(state.step),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    with reporter, _explain_divergence(manager):
      state = _train(
        task, config, state, batches, evaluation, others, manager, reporter
      )
      state, means = evaluation_lib.test_best(
        state, evaluation, manager, reporter
      )
      some = np.arange(min(PICTURED, test_source.size))
      examples = next(batches_lib.eval_batches(test_source, some, some.size))
      metrics, arrays = task.summary(config, state, means, examples)
      for evaluator in others:  # of this step, which may be the best
        metrics |= reporter.rows(evaluator.name).get(int(state.step), {})
      return results_lib.write(
        config, workdir, reporter, metrics, arrays, state
      )


def _train(
  task, config, state, batches, evaluation, others, manager, reporter
) -> train_state.TrainState:
  """Steps to config.total_steps, with evaluations and checkpoints between.

  A checkpoint comes before the evaluation of its step. If the run is stopped in
  between, it begins with that evaluation when it is started again.
  """
  train_step = train_state.parallel_train_step(task, config)
  throughput = reporter.throughput
  evaluators = [evaluation, *others]
  saves_evaluated = evaluation.name == 'validation'
  first_step = int(state.step)
  with (
    reporter.follow_steps(first_step),
    preemption_lib.PreemptionHandler(manager) as preemption,
  ):
    if first_step:
      _evaluate_if_due(
        first_step, state, config, evaluators, preemption, manager, reporter
      )
    logger.info('Compiling the first step; on CPUs this takes up to a minute')
    for step, batch in enumerate(throughput.batches(batches), first_step + 1):
      batch = batches_lib.shard(batch, jax.local_device_count())
      state, metrics = throughput.run(train_step, state, batch)
      reporter.step(step, metrics)
      if step == first_step + 1:
        evaluation.prepare(state)
      if _is_due(step, config.log_every, config):
        reporter.train_row(step)
      if preemption.requested(step):
        _save_and_stop(state, config, manager, reporter)
      is_evaluated = any(_is_due(step, e.every, config) for e in evaluators)
      # One of the steps evaluated on the validation split is to be tested.
      is_saved = _is_due(step, config.checkpoint_every, config) or (
        saves_evaluated and _is_due(step, evaluation.every, config)
      )
      if is_saved or is_evaluated:
        jax.block_until_ready(state)
        with throughput.paused():
          if is_saved:
            checkpoints.save(manager, state, reporter.progress)
          _evaluate_if_due(
            step, state, config, evaluators, preemption, manager, reporter
          )
    checkpoints.wait(manager)
  return state


def _is_due(step: int, every: int, config: ml_collections.ConfigDict) -> bool:
  return step % every == 0 or step == config.total_steps


def _evaluate_if_due(
  step, state, config, evaluators, preemption, manager, reporter
) -> None:
  """Adds the rows that are due and missing; SIGTERM stops it."""
  for evaluator in evaluators:
    is_done = step in reporter.rows(evaluator.name)
    if is_done or not _is_due(step, evaluator.every, config):
      continue
    values = evaluator.evaluate(state, preemption.received)
    if values is None:
      _save_and_stop(state, config, manager, reporter)
    reporter.row(step, evaluator.name, values)
    results_lib.warn_at_chance(config, reporter.history)


def _save_and_stop(state, config, manager, reporter) -> NoReturn:
  checkpoints.save(manager, state, reporter.progress)
  checkpoints.wait(manager)
  raise errors.Preempted(
    f'stopped by SIGTERM: saved step {int(state.step)} of '
    f'{config.total_steps}; the same command continues from there'
  )


@contextlib.contextmanager
def _explain_divergence(manager) -> Iterator[None]:
  """Says which checkpoint is the last when the numbers have gone wrong."""
  try:
    yield
  except errors.Diverged as error:
    checkpoints.wait(manager)
    step = manager.latest_step()
    last = f'the last checkpoint is that of step {step}'
    said = (
      f'{error}. The run was stopped; '
      f'{last if step else "there was no checkpoint yet"}. Try a lower '
      '--config.optimizer.learning_rate in another --workdir'
    )
    if distributed.is_primary():
      run_metadata.note_failure(manager.directory.parent, error.exit_code, said)
    raise errors.Diverged(said) from error

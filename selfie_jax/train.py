"""The one loop: it knows batches, steps and checkpoints, but no task.

A task is a module with four functions: create_state, train_step, eval_step,
summary (pretrain.py has them documented).
"""

import functools
import json
import logging
import os
from typing import Any

from clu import parameter_overview
from etils import epath
import jax
import ml_collections
import numpy as np

from selfie_jax import checkpoints
from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax import evaluation
from selfie_jax import finetune
from selfie_jax import input_pipeline
from selfie_jax import pretrain
from selfie_jax import reporting
from selfie_jax import task as task_lib
from selfie_jax import visualize

logger = logging.getLogger(__name__)

TASKS = {'pretrain': pretrain, 'finetune': finetune}
PICTURED = 12  # test examples in a task's pictures


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
    UserError: the config cannot work, or the workdir holds another job.
  """
  num_devices = jax.local_device_count()
  config_lib.check(config, num_devices)
  workdir = checkpoints.run_path(workdir)
  config_lib.check_same_job(config, workdir)
  if (workdir / 'results.json').exists():
    logger.info(
      '%s is finished; for another run give another --workdir', workdir
    )
    return json.loads((workdir / 'results.json').read_text())
  _log_devices()

  task = TASKS[config.mode]
  train_source = input_pipeline.open_source(config, config.dataset.train_split)
  test_source = input_pipeline.open_source(config, config.dataset.test_split)
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
  logger.info(
    '\n%s',
    parameter_overview.get_parameter_overview(
      state.params, include_stats=False
    ),
  )

  _make_workdir(workdir)
  config_lib.save(config, workdir)
  with (
    checkpoints.open_manager(workdir, config.keep_checkpoints) as manager,
    reporting.Reporter(config, workdir, num_devices) as reporter,
  ):
    if manager.latest_step() is not None:
      state, progress = checkpoints.restore(
        manager, state, manager.latest_step()
      )
      reporter.restore(progress)
      logger.info(
        'Continuing from step %d of %d', state.step, config.total_steps
      )
    batches = input_pipeline.train_batches(
      train_source, train_indices, config, int(state.step)
    )
    monitored = 'validation' if 'validation' in parts else 'test'
    state = _train(
      task, config, state, batches, monitored, evaluate, manager, reporter
    )

    state, evaluations = _choose_and_test(
      config, state, monitored, evaluate, manager, reporter
    )
    pictured = next(
      input_pipeline.eval_batches(
        test_source, np.arange(min(PICTURED, test_source.size)), PICTURED
      )
    )
    metrics, figures = task.summary(config, state, evaluations, pictured)
    figures['curves'] = visualize.curves(reporter.history)
    return reporter.finish(metrics, figures, workdir)


def _train(
  task,
  config,
  state,
  batches,
  monitored: str,
  evaluate: evaluation.Evaluate,
  manager,
  reporter: reporting.Reporter,
) -> task_lib.TrainState:
  """Steps to config.total_steps, with evaluations and checkpoints between."""
  train_step = jax.pmap(
    functools.partial(task.train_step, config=config),
    task_lib.AXIS,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
  )
  first_step = int(state.step)
  with reporter.bar(first_step) as bar:
    for step, batch in enumerate(batches, start=first_step + 1):
      state, metrics = train_step(
        state, input_pipeline.shard(batch, jax.local_device_count())
      )
      reporter.step(metrics)
      bar.update()
      last = step == config.total_steps
      if step == first_step + 1:
        jax.block_until_ready(state)  # compilation is no part of the rate
        reporter.start_clock()
      if step % config.log_every == 0 or last:
        reporter.train_row(step)
      evaluated = step % config.eval_every == 0 or last
      if evaluated or step % config.checkpoint_every == 0:
        jax.block_until_ready(state)
        with reporter.pause():
          accuracy = None
          if evaluated:
            values = evaluate(state, monitored)
            reporter.row(step, monitored, values)
            if monitored == 'validation':  # one of these is to be tested
              accuracy = evaluation.accuracy(values)
          due = last or step % config.checkpoint_every == 0
          if due or accuracy is not None:
            checkpoints.save(manager, state, reporter.progress, accuracy)
  manager.wait_until_finished()
  return state


def _choose_and_test(
  config,
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
  best = max(rows, key=lambda row: (evaluation.accuracy(row), row['step']))
  logger.info(
    'Testing the checkpoint of step %d, the best on the validation part',
    best['step'],
  )
  state, _ = checkpoints.restore(manager, state, best['step'])
  values = evaluate(state, 'test')
  reporter.row(best['step'], 'test', values)
  return state, {'validation': best, 'test': values}


def _make_workdir(workdir: epath.Path) -> None:
  try:
    workdir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UserError(
      f'cannot make the workdir {workdir} ({error}); give a folder that can '
      'be written to with --workdir=DIR'
    ) from error


def _log_devices() -> None:
  devices = jax.local_devices()
  logger.info('%d x %s', len(devices), devices[0].device_kind)
  asked_for_cpu = jax.config.jax_platforms == 'cpu'
  if devices[0].platform == 'cpu' and not asked_for_cpu:
    logger.warning(
      '*** NO TPU OR GPU FOUND: RUNNING ON THE CPU, much slower. For an '
      'accelerator install requirements-tpu.txt or requirements-gpu.txt; '
      'JAX_PLATFORMS=cpu hides this line. ***'
    )

"""Small whole jobs on the digits, and what it means that two ended alike."""

import json

import jax
import numpy as np

from configs import digits_finetune
from configs import digits_pretrain
from selfie_jax import checkpoints
from selfie_jax import workdir as workdir_lib


def small_job(mode):
  """Six steps, with two evaluations and two checkpoints."""
  job = {'pretrain': digits_pretrain, 'finetune': digits_finetune}[mode]
  config = job.get_config('tiny')
  config.total_steps = 6
  config.log_every = 2
  config.eval_every = 3
  config.checkpoint_every = 3
  config.optimizer.warmup_steps = 1
  return config


def final_checkpoint(workdir):
  """All arrays of the last checkpoint, and its history."""
  with checkpoints.open_manager(workdir_lib.run_path(workdir)) as manager:
    args = checkpoints.ocp.args
    read = manager.restore(
      manager.latest_step(),
      args=args.Composite(
        state=args.PyTreeRestore(), progress=args.JsonRestore()
      ),
    )
  return jax.tree.map(np.asarray, read.state), read.progress['history']


def same_end(whole_run, run_in_parts):
  """Both ended with the same bits: state, history and results."""
  whole, whole_history = final_checkpoint(whole_run)
  parts, parts_history = final_checkpoint(run_in_parts)
  jax.tree.map(np.testing.assert_array_equal, whole, parts)
  assert whole_history == parts_history
  assert [row['step'] for row in whole_history if row['part'] == 'train'] == [
    2,
    4,
    6,
  ]
  results = [
    json.loads((folder / 'results.json').read_text())
    for folder in (whole_run, run_in_parts)
  ]
  assert results[0]['metrics'] == results[1]['metrics']

"""Runs the job of a config: python main.py --config=configs/FILE.py[:variant].

Any field can be given as --config.FIELD=VALUE. Started again with the same
workdir, a run goes on from its last checkpoint.

Exit codes: 0 finished; 1 a fault; 2 a mistake, said in one line; 3 diverged (a
number is not finite); 75 an error of the disk or the network that may pass
(start it again); 130 Ctrl-C; 143 stopped by SIGTERM or SIGHUP (start it again).
"""

import atexit
import gc
import logging

from absl import app
from absl import flags

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax import job_flags

FLAGS = flags.FLAGS
job_flags.define()
flags.DEFINE_string(
  'workdir', None, "The run's folder; runs/<config name> if not given."
)
flags.DEFINE_string(
  'coordinator',
  None,
  'For several processes: host:port of process 0; JAX_COORDINATOR_ADDRESS if '
  'not given.',
)
flags.DEFINE_integer(
  'num_processes',
  None,
  'For several processes: how many there are; JAX_NUM_PROCESSES if not given.',
)
flags.DEFINE_integer(
  'process_id',
  None,
  'For several processes: which this is, from 0; JAX_PROCESS_ID if not given.',
)
flags.DEFINE_boolean(
  'distributed',
  None,
  'Whether jax is to find the processes by itself, as it can with Slurm and '
  'with Open MPI, and does on TPU pods if this is not given.',
)
flags.DEFINE_integer(
  'heartbeat_seconds',
  60,
  'For several processes: how long one may be silent before the others end.',
)


def main(argv: list[str]) -> None:
  del argv
  # Slow to import, so after the flags are known to be right.
  from selfie_jax import distributed

  distributed.initialize(
    FLAGS.coordinator,
    FLAGS.num_processes,
    FLAGS.process_id,
    FLAGS.distributed,
    FLAGS.heartbeat_seconds,
  )
  command_line.start_jax()
  if not distributed.is_primary():
    logging.getLogger('selfie_jax').setLevel(logging.WARNING)
  config = FLAGS.config
  workdir = job_flags.default_workdir()
  if FLAGS.workdir is not None:
    workdir = command_line.path(FLAGS.workdir)
  with distributed.abort_all_on_error(), errors.as_user_error():
    if config.mode == 'probe':
      from selfie_jax.probes import probe

      probe.run(config, workdir)
    else:
      from selfie_jax.probes import online
      from selfie_jax.training import train

      train.train_and_evaluate(config, workdir, online.evaluators(config))


if __name__ == '__main__':
  command_line.log_to_terminal()
  # Python's last garbage collection would look through all of TensorFlow, for
  # seconds that a process may not have after SIGTERM.
  atexit.register(gc.freeze)
  with command_line.exit_cleanly(
    'stopped; the same command goes on from the last checkpoint (a probe anew)'
  ):
    app.run(main, flags_parser=job_flags.parse)

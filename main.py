"""Runs the job of a config: python main.py --config=configs/FILE.py[:variant].

Any field can be given as --config.FIELD=VALUE. Started again with the same
workdir, a run goes on from its last checkpoint.

Exit codes: 0 finished; 1 a fault; 2 a mistake, said in one line; 130 Ctrl-C;
143 told to stop by SIGTERM (start it again).
"""

import atexit
import gc
import importlib.util
import logging
import os
import pathlib
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # before TensorFlow loads

from absl import app
from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

from selfie_jax import errors

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file(
  'config',
  None,
  'The job, such as configs/cifar_pretrain.py or, with a '
  'variant, configs/cifar_pretrain.py:small.',
  lock_config=True,
)
flags.DEFINE_string(
  'workdir', None, "The run's folder; runs/<config name> if not given."
)
flags.DEFINE_string(
  'coordinator',
  os.environ.get('JAX_COORDINATOR_ADDRESS'),
  'For several processes: host:port of process 0.',
)
flags.DEFINE_integer(
  'num_processes',
  os.environ.get('JAX_NUM_PROCESSES'),
  'For several processes: how many there are.',
)
flags.DEFINE_integer(
  'process_id',
  os.environ.get('JAX_PROCESS_ID'),
  'For several processes: which this is, from 0.',
)
flags.DEFINE_boolean(
  'distributed',
  importlib.util.find_spec('libtpu') is not None,
  'Whether jax is to find the processes by itself, as it can on TPU pods (on '
  'by default where libtpu is installed), with Slurm and with Open MPI.',
)
flags.DEFINE_integer(
  'heartbeat_seconds',
  60,
  'For several processes: how long one may be silent before the others end.',
)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the flags; a mistake in them is one line, not a traceback."""
  try:
    rest = FLAGS(argv)
  except (AttributeError, KeyError) as error:
    valid = field_names(argv)
    given = [flag[9:].partition('=')[0] for flag in argv if '--config.' in flag]
    raise errors.UserError(
      f'no such field: {", ".join(name for name in given if name not in valid)}'
      f'. The fields are {", ".join(valid)}'
    ) from error
  except (flags.Error, TypeError, ValueError) as error:
    raise errors.UserError(' '.join(str(error).split())) from error
  path = config_path()
  if path is None or not path.exists():
    raise errors.UserError(
      ('no job given' if path is None else f'there is no {path}')
      + ': type --config=configs/FILE.py, with FILE one of '
      + ', '.join(job_names())
    )
  if rest[1:]:
    raise errors.UserError(
      f'{rest[1]!r} is no flag: type --config.FIELD=VALUE or --workdir=DIR'
    )
  return rest


def config_path() -> pathlib.Path | None:
  """The file of --config, without its variant."""
  if FLAGS['config'].value is None:
    return None
  name = config_flags.get_config_filename(FLAGS['config'])
  return pathlib.Path(name.partition(':')[0])


def job_names() -> list[str]:
  """The files of configs/ that hold a job."""
  folder = pathlib.Path(__file__).parent / 'configs'
  return sorted(path.stem for path in folder.glob('[a-z]*_*.py'))


def field_names(argv: list[str]) -> list[str]:
  """The fields of the job, read once more without what was to change them."""
  from selfie_jax import config

  given = argv[:1] + [flag for flag in argv if flag.startswith('--config=')]
  alone = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=alone, sys_argv=given)
  alone(given)
  return sorted(config.flatten(alone.config)) if alone.config else []


def default_workdir() -> str:
  """runs/cifar_pretrain, or runs/cifar_pretrain_small for a variant."""
  name = config_flags.get_config_filename(FLAGS['config'])
  variant = name.partition(':')[2]
  stem = config_path().stem
  return f'runs/{stem}_{variant}' if variant else f'runs/{stem}'


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
  if not distributed.is_primary():
    logging.getLogger('selfie_jax').setLevel(logging.WARNING)
  from selfie_jax.probes import probe
  from selfie_jax.training import train

  is_probe = FLAGS.config.mode == 'probe'
  run = probe.run if is_probe else train.train_and_evaluate
  with distributed.ending_together():
    run(FLAGS.config, FLAGS.workdir or default_workdir())


def log_to_terminal() -> None:
  """Our own lines only; what goes wrong in a library comes as an exception."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  logger = logging.getLogger('selfie_jax')
  logger.setLevel(logging.INFO)
  logger.propagate = False
  logger.addHandler(handler)
  absl_logging.set_verbosity(absl_logging.FATAL)


if __name__ == '__main__':
  log_to_terminal()
  # Python's last garbage collection would look through all of TensorFlow, for
  # seconds that a process told to stop may not have.
  atexit.register(gc.freeze)
  try:
    app.run(main, flags_parser=parse_flags)
  except errors.UserError as mistake:
    sys.stderr.write(f'error: {mistake}\n')
    sys.exit(2)
  except errors.Preempted as notice:
    sys.stderr.write(f'{notice}\n')
    sys.exit(143)
  except KeyboardInterrupt:
    sys.stderr.write(
      'stopped; the same command goes on from the last checkpoint\n'
    )
    sys.exit(130)

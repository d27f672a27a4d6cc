"""Small whole jobs on the digits, and what it means that two ended alike."""

import functools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import xla_flags

from configs import digits_finetune
from configs import digits_pretrain
from selfie_jax.data import batches as batches_lib
from selfie_jax.models import build
from selfie_jax.storage import checkpoints
from selfie_jax.storage import pretrained
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain
from selfie_jax.tasks import train_state

ROOT = pathlib.Path(__file__).resolve().parent.parent


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


def start_finetuning(config, classes=10):
  """The state of a finetuning job, from init_from where it has one."""
  return finetune.create_state(config, classes, pretrained.read(config))


def compile_step(step, config, devices):
  """A task's step as (state, batch) -> its values, on the first devices."""
  return jax.pmap(
    functools.partial(step, config=config),
    train_state.AXIS,
    in_axes=(None, 0),
    out_axes=None,
    devices=jax.devices()[:devices],
  )


def call_at(monkeypatch, function, call, action):
  """Has `action` done before the batch number `call` of a stream is given."""
  real = getattr(batches_lib, function)

  def stream(*args, **kwargs):
    for i, batch in enumerate(real(*args, **kwargs)):
      if i == call:
        action()
      yield batch

  monkeypatch.setattr(batches_lib, function, stream)


def final_checkpoint(workdir):
  """All arrays of the last checkpoint, and its history."""
  args = checkpoints.ocp.args
  wanted = args.Composite(
    state=args.PyTreeRestore(), progress=args.JsonRestore()
  )
  with checkpoints.Manager(workdir_lib.run_path(workdir)) as manager:
    read = manager.restore(manager.latest_step(), args=wanted)
  return jax.tree.map(np.asarray, read.state), read.progress['history']


def same_end(whole_run, run_in_parts):
  """Both ended with the same bits: state, history and results."""
  whole, whole_history = final_checkpoint(whole_run)
  parts, parts_history = final_checkpoint(run_in_parts)
  jax.tree.map(np.testing.assert_array_equal, whole, parts)
  assert whole_history == parts_history
  whole, parts = (
    json.loads((folder / 'results.json').read_text())
    for folder in (whole_run, run_in_parts)
  )
  assert whole['metrics'] == parts['metrics']


def free_port():
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return listener.getsockname()[1]


def run_two_processes(code, folder, *path):
  """Runs Python code in two processes; the exit codes, and what each printed.

  In its arguments are a free port, the process's number and a folder; what lies
  in `path` can be imported.
  """
  python_path = ':'.join(map(str, (ROOT, ROOT / 'tests', *path)))
  port = str(free_port())
  processes = [
    subprocess.Popen(
      [sys.executable, '-uc', code, port, str(i), folder],
      env=os.environ | {'PYTHONPATH': python_path, 'XLA_FLAGS': ''},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in (0, 1)
  ]
  try:
    said = [process.communicate(timeout=900) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [process.returncode for process in processes], said


class Process:
  """main.py on one device, writing what it says to a file."""

  def __init__(self, mode, workdir, fields, log, *flags):
    """Starts it with `fields` of the tiny job of a mode, and other flags."""
    self._path = log
    words = [
      sys.executable,
      ROOT / 'main.py',
      f'--config={ROOT}/configs/digits_{mode}.py:tiny',
      f'--workdir={workdir}',
      *(f'--config.{name}={value}' for name, value in fields.items()),
      *flags,
    ]
    env = os.environ | {'XLA_FLAGS': xla_flags.UNOPTIMISED}
    with open(log, 'w') as file:
      self._process = subprocess.Popen(words, stderr=file, env=env)
    self.send, self.wait = self._process.send_signal, self._process.wait

  @property
  def printed(self):
    return self._path.read_text()

  def wait_for(self, is_so, seconds=900):
    """Returns when `is_so()`, or when the process has ended; which it was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      if is_so():
        return True
      if self._process.poll() is not None:
        return False
      time.sleep(0.001)
    raise TimeoutError(self.printed)

  def kill_when(self, has_come):
    """Kills it at a moment, until which it must not have ended."""
    assert self.wait_for(has_come), self.printed
    self.send(signal.SIGKILL)
    assert self.wait() == -signal.SIGKILL

  def ends_well(self):
    assert self.wait() == 0, self.printed
    return self

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._process.kill()
    self._process.wait()


def random_run(config, folder, images, classes=10):
  """A run's folder without training: random weights, `images`' statistics.

  Nothing in it is as it was initialised. `images` is uint8 [n, s, s, 3].
  """
  config.model.norm_momentum = 0.0
  config.model.sync_batch_norm = False
  task = {'pretrain': pretrain, 'finetune': finetune}[config.mode]
  state = task.create_state(config, classes)
  rng = np.random.default_rng(9)

  def perturb(x):
    factor = rng.uniform(0.5, 1.5, x.shape)
    return np.float32(x * factor + rng.uniform(-0.05, 0.05, x.shape))

  params = jax.tree.map(perturb, state.params)
  variables = {'params': params, 'batch_stats': state.batch_stats}
  model = build.patch_network(config)
  if config.mode == 'finetune':
    model = build.classifier(config, classes)
  else:
    variables = {k: v['patch_network'] for k, v in variables.items()}
  apply = functools.partial(model.apply, train=True, mutable='batch_stats')
  _, new = jax.jit(apply)(variables, build.normalise(images, config))
  stats = new['batch_stats']
  if config.mode == 'pretrain':
    stats = {'patch_network': stats}
  workdir = workdir_lib.run_path(folder)
  workdir.mkdir(parents=True, exist_ok=True)
  names = [f'class {i}' for i in range(classes)]
  run_metadata.save(config, {'train': {'classes': names}}, workdir)
  with checkpoints.Manager(workdir, 1) as manager:
    checkpoints.save(
      manager,
      state.replace(params=params, batch_stats=stats),
      {'history': [], 'window': []},
    )
  return folder


def change_progress(path, change):
  """Of a checkpoint, as if it had been saved so, without checksums."""
  progress = json.loads(path.read_text())
  change(progress)
  for name in ('checksum', 'checksums'):
    del progress[name]
  path.write_text(json.dumps(progress))


def forget_identity(folder):
  """Leaves what earlier versions left, which knew no identity."""
  (folder / 'run.json').unlink()
  for path in folder.glob('checkpoints/*/progress/metadata'):
    change_progress(path, lambda progress: progress.pop('identity'))
  if (path := folder / 'results.json').exists():
    results = json.loads(path.read_text())
    del results['identity']
    path.write_text(json.dumps(results))

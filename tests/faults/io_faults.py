"""Fails one file operation of a small job a start; says what came of it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import io_ends
import io_jobs
import xla_flags

HERE = pathlib.Path(__file__).resolve().parent
HANGS_AFTER = 900  # seconds, of a job of about ten on an idle machine
GOOD = ('equal', 'one line', 'not met')


def build(folder: pathlib.Path) -> pathlib.Path:
  """Compiles failing_io.c into a folder; returns the library."""
  library, source = folder / 'failing_io.so', HERE / 'failing_io.c'
  options = ['-shared', '-fPIC', '-O1', '-Wall', '-Werror']
  subprocess.run(
    ['cc', *options, '-o', library, source, '-ldl', '-lpthread'], check=True
  )
  return library


class Laboratory:
  """Runs jobs in one folder, in copies of one process; a context manager.

  A job runs in FOLDER/root, which is filled anew for each trial and is always
  the same, since what is cached belongs to a path. FOLDER/JOB/before and
  FOLDER/JOB/after are what an undisturbed run of it begins with and leaves.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = folder.resolve()
    self.root = self.folder / 'root'
    self.folder.mkdir(parents=True, exist_ok=True)
    self._undisturbed = {}
    env = os.environ | {
      'LD_PRELOAD': str(build(self.folder)),
      'XLA_FLAGS': xla_flags.UNOPTIMISED,
      'OPENBLAS_NUM_THREADS': '1',
      'XDG_CACHE_HOME': str(self.root / 'cache'),
    }
    env.pop('TF_CPP_MIN_LOG_LEVEL', None)  # that of main.py counts
    self._server = subprocess.Popen(
      [sys.executable, HERE / 'fork_server.py'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=env,
    )

  def __enter__(self) -> 'Laboratory':
    assert self._server.stdout.readline() == 'ready\n'
    return self

  def __exit__(self, *exception) -> None:
    self._server.stdin.close()
    self._server.wait()

  def start(self, name: str, position: io_jobs.Position | None = None):
    """Runs a job in root; returns its exit code, what it said, operations."""
    job = io_jobs.JOBS[name]
    fields = {
      key: str(value).replace('ROOT', str(self.root))
      for key, value in (io_jobs.FIELDS | job.fields).items()
    }
    log, listed = self.folder / 'log', self.folder / 'operations'
    log.unlink(missing_ok=True)
    listed.unlink(missing_ok=True)
    env = {'BELOW': self.root, 'LIST': listed}
    if position:
      env |= {
        'KIND': position.kind,
        'PATHS': position.paths,
        'NUMBER': position.number,
        'ERRNO': position.error,
      }
    request = {
      'argv': [
        f'--config={HERE.parent.parent}/configs/digits_{job.mode}.py:tiny',
        f'--workdir={self.root}/run',
        *(f'--config.{key}={value}' for key, value in fields.items()),
      ],
      'env': {f'FAILING_IO_{key}': str(value) for key, value in env.items()},
      'log': str(log),
      'seconds': HANGS_AFTER,
    }
    self._server.stdin.write(json.dumps(request) + '\n')
    self._server.stdin.flush()
    code = int(self._server.stdout.readline())
    return code, log.read_text(), listed.read_text().splitlines()

  def undisturbed(self, name: str) -> tuple[str, list[str]]:
    """Runs a job once; returns what it said, and its operations."""
    if name in self._undisturbed:
      return self._undisturbed[name]
    job, folder = io_jobs.JOBS[name], self.folder / name
    self._fill(None)
    if job.before:
      self.undisturbed(job.before)
      self._fill(self.folder / job.before / 'after')
    job.fill(self.root)
    if job.continued:
      (self.root / 'run' / 'results.json').unlink()
      shutil.rmtree(self.root / 'run' / 'checkpoints' / '24')
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(self.root, folder / 'before')
    code, said, operations = self.start(name)
    assert code == 0, said
    shutil.copytree(self.root, folder / 'after')
    self._undisturbed[name] = said, operations
    return said, operations

  def trial(self, name: str, *positions: io_jobs.Position) -> dict[str, object]:
    """Starts a job till it ends well, a position failing in each start in turn.

    Returns:
      What came of it, for JSON. `outcome` is 'equal' (the first start ended as
      an undisturbed run), 'one line' (it said one, and so on, and the same
      command ended so), 'not met' (there was no such operation this time), or
      else what was wrong; `failed` is the operations that did fail.
    """
    usual, _ = self.undisturbed(name)
    before, whole = (self.folder / name / side for side in ('before', 'after'))
    self._fill(before)
    wrong, failed, lines = [], [], []
    for position in (*positions, None):
      step = io_ends.newest_step(self.root)
      code, said, operations = self.start(name, position)
      failed += [line for line in operations if line.count('\t') == 2]
      lines += io_ends.unusual(said, usual)[-12:]
      wrong += io_ends.in_words(code, said, usual, step)
      wrong += io_ends.lost(before, self.root)
      if code == 0:
        wrong += io_ends.differences(whole, self.root)
        break
    else:
      wrong.append('no good end')
    outcome = 'equal' if position == positions[0] else 'one line'
    if not failed:
      outcome = 'not met'
    return {
      'failed': failed,
      'outcome': '; '.join(dict.fromkeys(wrong)) or outcome,
      'said': lines,
    }

  def run_through(self, name: str) -> list[dict[str, object]]:
    """All trials of a job, with the operation of each."""
    _, operations = self.undisturbed(name)
    results = []
    for position in io_jobs.draw(name, operations):
      results.append(vars(position) | self.trial(name, position))
      print(name, *results[-1].values(), flush=True)
    return results

  def _fill(self, folder: pathlib.Path | None) -> None:
    shutil.rmtree(self.root, ignore_errors=True)
    if folder:
      shutil.copytree(folder, self.root)
    else:
      self.root.mkdir()

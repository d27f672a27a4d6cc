"""Fails the file operations of small jobs, one a start; says what came of it.

python -m tests.faults.io_faults FOLDER [JOB ...] tries every kind of operation
on every kind of file once, writes a line of JSON for each to FOLDER/JOB.jsonl,
goes on where it was stopped, and prints the table of docs/reliability.md.
"""

import collections
import dataclasses
import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
if __name__ == '__main__':
  sys.path[:0] = [str(HERE), str(HERE.parent)]
  os.environ['JAX_PLATFORMS'] = 'cpu'

import io_ends
import io_jobs
import io_positions
import xla_flags

HANGS_AFTER = 900  # seconds, of a job of about ten on an idle machine
GOOD = ('equal', 'one line', 'not met')


def can_build() -> bool:
  return sys.platform == 'linux' and shutil.which('cc') is not None


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
    library = build(self.folder)
    self._undisturbed = {}
    env = os.environ | {
      'LD_PRELOAD': str(library),
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

  def start(self, name: str, position: io_positions.Position | None = None):
    """Runs a job in root; returns its exit code, what it said, operations."""
    job = io_jobs.JOBS[name]
    fields = {
      key: str(value).replace('ROOT', str(self.root))
      for key, value in (io_jobs.FIELDS | job.fields).items()
    }
    log, listed = self.folder / 'log', self.folder / 'operations'
    log.unlink(missing_ok=True)
    listed.unlink(missing_ok=True)
    env = {
      'FAILING_IO_BELOW': str(self.root),
      'FAILING_IO_LIST': str(listed),
    }
    if position:
      env |= {
        'FAILING_IO_KIND': position.kind,
        'FAILING_IO_PATHS': position.paths,
        'FAILING_IO_NUMBER': str(position.number),
        'FAILING_IO_ERRNO': str(position.error),
      }
    request = {
      'argv': [
        f'--config={HERE.parent.parent}/configs/digits_{job.mode}.py:tiny',
        f'--workdir={self.root}/run',
        *(f'--config.{key}={value}' for key, value in fields.items()),
      ],
      'env': env,
      'log': str(log),
      'seconds': HANGS_AFTER,
    }
    self._server.stdin.write(json.dumps(request) + '\n')
    self._server.stdin.flush()
    code = int(self._server.stdout.readline())
    return code, log.read_text(), listed.read_text().splitlines()

  def undisturbed(self, name: str) -> tuple[str, list[str]]:
    """Runs a job once; returns what it said, and its operations."""
    if name not in self._undisturbed:
      self._undisturbed[name] = self._run_undisturbed(name)
    return self._undisturbed[name]

  def trial(
    self, name: str, *positions: io_positions.Position
  ) -> dict[str, object]:
    """Starts a job till it ends well, a position failing in each start in turn.

    Returns:
      What came of it, for JSON. `outcome` is 'equal' (the first start ended as
      an undisturbed run), 'one line' (it said one, and so on, and the same
      command ended so), 'not met' (there was no such operation this time), or
      else what was wrong; `failed` is the operations that did fail.
    """
    usual, _ = self.undisturbed(name)
    before, whole = (self.folder / name / part for part in ('before', 'after'))
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

  def _run_undisturbed(self, name: str) -> tuple[str, list[str]]:
    job, folder = io_jobs.JOBS[name], self.folder / name
    shutil.rmtree(self.root, ignore_errors=True)
    self.root.mkdir()
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
    return said, operations

  def _fill(self, folder: pathlib.Path) -> None:
    shutil.rmtree(self.root, ignore_errors=True)
    shutil.copytree(folder, self.root)


def run_through(laboratory: Laboratory, name: str) -> list[dict[str, object]]:
  """All trials of a job; those in FOLDER/JOB.jsonl are only read."""
  results = laboratory.folder / f'{name}.jsonl'
  done = {}
  if results.exists():
    for line in results.read_text().splitlines():
      result = json.loads(line)
      done[result['kind'], result['paths']] = result
  _, operations = laboratory.undisturbed(name)
  for position in io_positions.draw(name, operations):
    key = position.kind, position.paths
    if key not in done:
      done[key] = dataclasses.asdict(position) | {
        'error': errno.errorcode[position.error]
      }
      done[key] |= laboratory.trial(name, position)
      with results.open('a') as file:
        file.write(json.dumps(done[key]) + '\n')
      print(name, *done[key].values(), flush=True)
  return list(done.values())


def main() -> None:
  folder, *names = sys.argv[1:]
  folder = pathlib.Path(folder)
  with Laboratory(folder) as laboratory:
    rows = []
    for name in names or io_jobs.JOBS:
      _, operations = laboratory.undisturbed(name)
      results = run_through(laboratory, name)
      outcomes = collections.Counter(row['outcome'] for row in results)
      good = outcomes.pop('equal', 0), outcomes.pop('one line', 0)
      absent = outcomes.pop('not met', 0)
      rows.append(
        (name, len(operations), len(results), *good, absent, outcomes.total())
      )
  print('| job | operations | failed, one of each kind | ended equal '
        '| one line, then equal | not met | wrong |')  # fmt: skip
  print('|---|---|---|---|---|---|---|')
  for row in rows:
    print('|', ' | '.join(map(str, row)), '|')


if __name__ == '__main__':
  main()

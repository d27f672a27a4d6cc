"""Fails one file operation of a small job a start; says what came of it."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import io_jobs
import small_jobs
import xla_flags

HERE = pathlib.Path(__file__).resolve().parent
HANGS_AFTER = 900  # seconds, of a job of about ten on an idle machine
GOOD = ('equal', 'one line', 'not met')
EXIT_CODES = (2, 75)  # documented, for what a line is said about


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
      env |= dataclasses.asdict(position)
    request = {
      'argv': [
        f'--config={HERE.parent.parent}/configs/digits_{job.mode}.py:tiny',
        f'--workdir={self.root}/run',
        *(f'--config.{key}={value}' for key, value in fields.items()),
      ],
      'env': {f'FAILING_IO_{k.upper()}': str(x) for k, x in env.items()},
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

    Returns what came of it, for JSON. `outcome` is 'equal' (the first start
    ended as an undisturbed run), 'one line' (it said one, and so on, and the
    same command ended so), 'not met' (there was no such operation this time),
    or else what was wrong; `failed` is the operations that did fail.
    """
    usual, _ = self.undisturbed(name)
    before, whole = (self.folder / name / side for side in ('before', 'after'))
    self._fill(before)
    wrong, failed, lines = [], [], []
    for position in (*positions, None):
      step = 0  # from which it has to go on
      if not (self.root / 'run' / 'results.json').exists():
        step = max(_steps(self.root), default=0)
      code, said, operations = self.start(name, position)
      unusual = _unusual(said, usual)
      failed += [line for line in operations if line.count('\t') == 2]
      lines += unusual[-12:]
      wrong += _wrong_words(code, said, unusual, step) + _lost(
        before, self.root
      )
      if code == 0:
        wrong += _differences(whole, self.root)
        break
    else:
      wrong.append('no good end')
    outcome = 'equal' if position == positions[0] else 'one line'
    outcome = outcome if failed else 'not met'
    return {
      'failed': failed,
      'outcome': '; '.join(dict.fromkeys(wrong)) or outcome,
      'said': lines,
    }

  def _fill(self, folder: pathlib.Path | None) -> None:
    shutil.rmtree(self.root, ignore_errors=True)
    if folder:
      shutil.copytree(folder, self.root)
    else:
      self.root.mkdir()


def _unusual(said: str, usual: str) -> list[str]:
  """The lines that an undisturbed run does not say, whatever their numbers."""
  number = re.compile(r'[-+]?[\d.]+(e[-+]?\d+)?|nan|inf')
  known = set(number.sub('#', usual).splitlines())
  return [x for x in said.splitlines() if number.sub('#', x) not in known]


def _wrong_words(
  code: int, said: str, unusual: list[str], newest: int
) -> list[str]:
  """What should not be said, or is not; and undocumented exit codes."""
  wrong = []
  if code not in (0, *EXIT_CODES):
    wrong.append(f'exit code {code}')
  if 'Traceback' in said:
    wrong.append('a traceback')
  # Our log begins with the time.
  lines = [x for x in unusual if not re.match(r'\d\d:\d\d:\d\d ', x)]
  mistakes = sum(line.startswith('error: ') for line in lines)
  if mistakes != (code != 0):
    wrong.append(f'{mistakes} lines for a person')
  if len(lines) > mistakes and 'Traceback' not in said:
    wrong.append('lines of libraries')
  continues = f'Continuing from step {newest} of'
  if code == 0 and newest and continues not in said:
    wrong.append(f'does not go on from step {newest}')
  return wrong


def _lost(before: pathlib.Path, now: pathlib.Path) -> list[str]:
  """What is not as it was given to a job, or taken for damaged."""
  wrong = []
  if (now / 'run' / 'damaged').exists():
    wrong.append('a checkpoint in damaged/')
  newest = max(_steps(before), default=0)
  if newest > max(_steps(now), default=0):
    wrong.append(f'no checkpoint of step {newest}')
  for path in before.rglob('*'):
    given = path.relative_to(before)
    if given.parts[0] not in ('run', 'cache') and path.is_file():
      if not _same_file(path, now / given):
        wrong.append(f'{given} is not what it was')
  return wrong


def _differences(whole: pathlib.Path, now: pathlib.Path) -> list[str]:
  """What is not as an undisturbed run leaves it."""
  wrong = []
  try:
    small_jobs.same_end(whole / 'run', now / 'run')
  except Exception as error:
    wrong.append(f'other numbers: {" ".join(str(error).split())[:200]}')
  for file in ('history.json', 'data.json', 'config.json'):
    if not _same_file(whole / 'run' / file, now / 'run' / file):
      wrong.append(f'another {file}')
  # One that could not be deleted may be left.
  if not _steps(whole) <= _steps(now):
    wrong.append(f'checkpoints of {sorted(_steps(now))}')
  if missing := sorted(_kinds(whole) - _kinds(now)):
    wrong.append(f'no {", ".join(missing[:3])}')
  return wrong


def _steps(folder: pathlib.Path) -> set[int]:
  names = [path.name for path in (folder / 'run' / 'checkpoints').glob('*')]
  return {int(name) for name in names if name.isdigit()}


def _kinds(folder: pathlib.Path) -> set[str]:
  paths = (folder / 'run').rglob('*')
  return {io_jobs.stable(str(path.relative_to(folder))) for path in paths}


def _same_file(a: pathlib.Path, b: pathlib.Path) -> bool:
  return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()

"""What is wrong with the end of a job of which an operation failed.

Each function gives one entry for each fault. Folders are those that the folder
of the run, `run`, lies in.
"""

import pathlib
import re

import io_jobs
import small_jobs

EXIT_CODES = (2, 75)  # documented, for what a line is said about


def unusual(said: str, usual: str) -> list[str]:
  """The lines that an undisturbed run does not say."""
  known = set(map(_without_numbers, usual.splitlines()))
  return [
    line for line in said.splitlines() if _without_numbers(line) not in known
  ]


def newest_step(folder: pathlib.Path) -> int:
  """Of the checkpoint from which a run goes on; 0 for none or no need to."""
  if (folder / 'run' / 'results.json').exists():
    return 0
  return max(_steps(folder), default=0)


def in_words(code: int, said: str, usual: str, newest: int) -> list[str]:
  """What should not be said, or is not; and undocumented exit codes.

  Args:
    code: the exit code.
    said: what the job said.
    usual: what it says undisturbed.
    newest: what `newest_step` was before the job was started.
  """
  wrong = []
  if code not in (0, *EXIT_CODES):
    wrong.append(f'exit code {code}')
  if 'Traceback' in said:
    wrong.append('a traceback')
  # Our log begins with the time.
  lines = [
    line
    for line in unusual(said, usual)
    if not re.match(r'\d\d:\d\d:\d\d ', line)
  ]
  mistakes = sum(line.startswith('error: ') for line in lines)
  if mistakes != (code != 0):
    wrong.append(f'{mistakes} lines for a person')
  if len(lines) > mistakes and 'Traceback' not in said:
    wrong.append('lines of libraries')
  continues = f'Continuing from step {newest} of'
  if code == 0 and newest and continues not in said:
    wrong.append(f'does not go on from step {newest}')
  return wrong


def lost(before: pathlib.Path, now: pathlib.Path) -> list[str]:
  """What was good before and is gone, or no longer the same."""
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


def differences(whole: pathlib.Path, now: pathlib.Path) -> list[str]:
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


def _without_numbers(line: str) -> str:
  return re.sub(r'[-+]?[\d.]+(e[-+]?\d+)?|nan|inf', '#', line)

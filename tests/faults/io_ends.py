"""What is wrong with the end of a job of which an operation failed.

Each function gives one entry for each fault. Folders are those that the folder
of the run, `run`, lies in.
"""

import contextlib
import pathlib
import re

import small_jobs

EXIT_CODES = (2, 75)  # documented, for what a line is said about
# What differs between two runs in the name of a file.
_UNSTABLE = re.compile(
  r'(?<=incomplete\.)\w{6}|(?<=/tmp)\w{8}|[0-9a-f]{16,}|[0-9]+'
)


def stable(path: str) -> str:
  """A pattern of a path for all runs."""
  return _UNSTABLE.sub('*', path)


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


def in_words(code: int, said: str, usual: str, newest_step: int) -> list[str]:
  """What should not be said, or is not; and exit codes unknown to people.

  Args:
    code: the exit code.
    said: what the job said.
    usual: what it says undisturbed.
    newest_step: what `newest_step` was before the job was started.
  """
  lines = unusual(said, usual)
  wrong = []
  if code not in (0, *EXIT_CODES):
    wrong.append(f'exit code {code}')
  if 'Traceback' in said:
    wrong.append('a traceback')
  mistakes = [line for line in lines if line.startswith('error: ')]
  if len(mistakes) != (code != 0):
    wrong.append(f'{len(mistakes)} lines for a person')
  others = [
    line
    for line in lines
    if line not in mistakes and not re.match(r'\d\d:\d\d:\d\d ', line)
  ]
  if others and 'Traceback' not in said:
    wrong.append('lines of libraries')
  goes_on = f'Continuing from step {newest_step} of'
  if code == 0 and newest_step and goes_on not in said:
    wrong.append(f'does not go on from step {newest_step}')
  return wrong


def lost(before: pathlib.Path, now: pathlib.Path) -> list[str]:
  """What was good before and is gone, or no longer the same."""
  wrong = []
  if (now / 'run' / 'damaged').exists():
    wrong.append('a checkpoint in damaged/')
  if _steps(before) and max(_steps(before)) > max(_steps(now), default=0):
    wrong.append(f'no checkpoint of step {max(_steps(before))}')
  for path in before.rglob('*'):
    given = path.relative_to(before)
    if given.parts[0] in ('run', 'cache') or path.is_dir():
      continue
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
  return {stable(str(path.relative_to(folder))) for path in paths}


def _same_file(a: pathlib.Path, b: pathlib.Path) -> bool:
  with contextlib.suppress(FileNotFoundError):
    return a.read_bytes() == b.read_bytes()
  return False


def _without_numbers(line: str) -> str:
  return re.sub(r'[-+]?[\d.]+(e[-+]?\d+)?|nan|inf', '#', line)

"""Which file operations are to fail: one of each kind on each kind of file."""

import collections
from collections.abc import Iterable
import dataclasses
import errno
import hashlib
import re

import io_ends
import io_jobs

_READING = (errno.EIO, errno.EIO, errno.EINTR)
_WRITING = (errno.EIO, errno.ENOSPC, errno.EINTR)
_ERRORS = {
  'open': _READING,
  'read': _READING,
  'list': (errno.EIO,),
  'stat': (errno.EIO,),
  'lock': (errno.EIO, errno.EINTR),
  'close': (errno.EIO, errno.ENOSPC),
  'unlink': (errno.EIO,),
  'rmdir': (errno.EIO,),
  'rename': (errno.EIO, errno.ENOSPC),
  'mkdir': (errno.EIO, errno.ENOSPC),
}  # others: _WRITING
# Of these, one in each of the folders two levels below is enough.
_COARSE = ('stat', 'list', 'close', 'unlink', 'mkdir')
# The name that a file has until all is written.
_UNFINISHED = re.compile(r'\.orbax-checkpoint-tmp|\.__lock|\.tmp$|incomplete\.')


@dataclasses.dataclass(frozen=True)
class Position:
  """The n-th operation of a kind on the files of a pattern, and its error."""

  kind: str
  paths: str
  number: int
  error: int


def draw(name: str, operations: Iterable[str]) -> list[Position]:
  """One of each kind of operation on each kind of file.

  Which of several operations and which error are drawn, always the same.

  Args:
    name: of the job.
    operations: of an undisturbed run of it, as failing_io.c lists them.
  """
  job = io_jobs.JOBS[name]
  counts, groups = collections.Counter(), collections.defaultdict(list)
  for kind, path in (line.split('\t')[:2] for line in operations):
    if job.continued and kind == 'mkdir' and 'checkpoints/' in path:
      break
    paths = io_ends.stable(path)
    counts[kind, paths] += 1
    if path.startswith(job.below):
      file = _UNFINISHED.sub('', paths)
      if kind in _COARSE or job.coarse and '/checkpoints/' in file:
        file = '/'.join(file.split('/')[:2])
      groups[kind, file].append((paths, counts[kind, paths]))
  drawn = []
  for digest, (kind, _), operations in sorted(
    (hashlib.sha256(f'{name} {group}'.encode()).digest(), group, operations)
    for group, operations in groups.items()
  ):
    known = _ERRORS.get(kind, _WRITING)
    paths, number = operations[
      int.from_bytes(digest[:4], 'big') % len(operations)
    ]
    drawn.append(Position(kind, paths, number, known[digest[4] % len(known)]))
  return drawn

"""The small jobs whose file operations fail, and which operations do."""

import collections
from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import errno
import hashlib
import pathlib
import re

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from selfie_jax.data import digits

FIELDS = {
  'total_steps': 24,
  'log_every': 6,
  'eval_every': 12,
  'checkpoint_every': 6,
  'keep_checkpoints': 3,
}


@dataclasses.dataclass(frozen=True)
class Job:
  """A job of main.py, and what there is before it starts."""

  mode: str  # pretrain or finetune
  fields: dict[str, object]  # beside FIELDS; ROOT in them is the job's folder
  before: str = ''  # the job whose folder it starts in as that job left it
  # Whether it has lost its last checkpoint and its results by then; what fails
  # is then one of the operations before the next checkpoint.
  continued: bool = False
  # Puts into the folder what else there is to be.
  fill: Callable[[pathlib.Path], None] = lambda root: None
  below: tuple[str, ...] = ('',)  # the folders whose operations fail; '': all
  # Whether all files of checkpoints are of one kind, since another job has each
  # of them fail.
  coarse: bool = False


def make_photos(root: pathlib.Path) -> None:
  """Photos of the classes 0 and 1, in folders for training and test."""
  rng = np.random.default_rng(0)
  for i in range(60):
    split = 'test' if i < 20 else 'train'
    path = root / 'photos' / split / str(i % 2) / f'{i}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (40, 44, 3), np.uint8)).save(path)


class Numbers(digits.Digits):
  """The digits as a set that was prepared by others."""


def make_records(root: pathlib.Path) -> None:
  """A prepared tfds set of two files a split."""
  two = tfds.download.DownloadConfig(num_shards=2)
  Numbers(data_dir=root / 'data').download_and_prepare(download_config=two)


def keep_as_pretrained(root: pathlib.Path) -> None:
  (root / 'run').rename(root / 'pretrained')


_PHOTOS = {
  'dataset.name': 'folder',
  'dataset.path': 'ROOT/photos',
  'label_fraction': 1.0,
  'augment.crop': 'random_resized',
}
_RECORDS = {'dataset.name': 'numbers', 'dataset.data_dir': 'ROOT/data'}
_AS_NEEDED = _RECORDS | {'dataset.cache_gib': 0.0}
_START = {'init_from': 'ROOT/pretrained'}
_RUNS = {'below': ('run/', 'pretrained/'), 'coarse': True}
_DATA = {'below': ('data/', 'photos/', 'cache/')}
JOBS = {
  'pretrain': Job('pretrain', {}),
  'pretrain-continued': Job('pretrain', {}, 'pretrain', True),
  'finetune': Job(
    'finetune', _START, 'pretrain', fill=keep_as_pretrained, **_RUNS
  ),
  'finetune-continued': Job('finetune', _START, 'finetune', True, **_RUNS),
  'photos': Job('finetune', _PHOTOS, fill=make_photos, **_DATA),
  'photos-continued': Job('finetune', _PHOTOS, 'photos', True, **_DATA),
  'records': Job('pretrain', _AS_NEEDED, fill=make_records, **_DATA),
  'records-in-memory': Job('pretrain', _RECORDS, fill=make_records, **_DATA),
}

_READING = (errno.EIO, errno.EIO, errno.EINTR)
_WRITING = (errno.EIO, errno.ENOSPC, errno.EINTR)
_ERRORS = collections.defaultdict(
  lambda: _WRITING,
  open=_READING,
  read=_READING,
  list=(errno.EIO,),
  stat=(errno.EIO,),
  lock=(errno.EIO, errno.EINTR),
  close=(errno.EIO, errno.ENOSPC),
  unlink=(errno.EIO,),
  rmdir=(errno.EIO,),
  rename=(errno.EIO, errno.ENOSPC),
  mkdir=(errno.EIO, errno.ENOSPC),
)
# Of these, one in each of the folders two levels below is enough.
_COARSE = ('stat', 'list', 'close', 'unlink', 'mkdir')
# The name that a file has until all is written.
_UNFINISHED = re.compile(r'\.orbax-checkpoint-tmp|\.__lock|\.tmp$|incomplete\.')
# What differs between two runs in the name of a file.
_UNSTABLE = re.compile(
  r'(?<=incomplete\.)\w{6}|(?<=/tmp)\w{8}|[0-9a-f]{16,}|[0-9]+'
)


@dataclasses.dataclass(frozen=True)
class Position:
  """The n-th operation of a kind on the files of a pattern, and its error."""

  kind: str
  paths: str
  number: int
  errno: int


def stable(path: str) -> str:
  """A pattern of a path for all runs."""
  return _UNSTABLE.sub('*', path)


def draw(name: str, operations: Iterable[str]) -> list[Position]:
  """One of each kind of operation on each kind of file, always the same.

  Drawn from the operations of an undisturbed run, as failing_io.c lists them.
  """
  job = JOBS[name]
  counts, groups = collections.Counter(), collections.defaultdict(list)
  for kind, path in (line.split('\t')[:2] for line in operations):
    if job.continued and kind == 'mkdir' and 'checkpoints/' in path:
      break
    paths = stable(path)
    counts[kind, paths] += 1
    if path.startswith(job.below):
      file = _UNFINISHED.sub('', paths)
      if kind in _COARSE or job.coarse and '/checkpoints/' in file:
        file = '/'.join(file.split('/')[:2])
      groups[kind, file].append((paths, counts[kind, paths]))
  drawn = {}
  for (kind, file), found in groups.items():
    digest = hashlib.sha256(f'{name} {(kind, file)}'.encode()).digest()
    paths, number = found[int.from_bytes(digest[:4], 'big') % len(found)]
    error = _ERRORS[kind][digest[4] % len(_ERRORS[kind])]
    drawn[digest] = Position(kind, paths, number, error)
  return [drawn[digest] for digest in sorted(drawn)]

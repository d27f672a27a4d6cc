"""The small jobs whose file operations fail."""

from collections.abc import Callable
import dataclasses
import pathlib

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
  """A job of main.py, and what there is before it starts.

  Attributes:
    mode: pretrain or finetune.
    fields: of the config, beside FIELDS; ROOT in a value is the job's folder.
    before: the job whose folder it starts in as that job left it, if any.
    continued: whether it has lost its last checkpoint and its results by then;
      what fails is then one of the operations before the next checkpoint.
    fill: puts into the folder what else there is to be.
    below: the folders whose operations fail; '' for all.
    coarse: whether the files of checkpoints are of one kind, since another job
      has each of them fail.
  """

  mode: str
  fields: dict[str, object]
  before: str = ''
  continued: bool = False
  fill: Callable[[pathlib.Path], None] = lambda root: None
  below: tuple[str, ...] = ('',)
  coarse: bool = False


def make_photos(root: pathlib.Path) -> None:
  """Photos of the classes 0 and 1, in folders for training and test."""
  rng = np.random.default_rng(0)
  for i in range(60):
    part = 'test' if i < 20 else 'train'
    path = root / 'photos' / part / str(i % 2) / f'{i}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (40, 44, 3), np.uint8)).save(path)


class Numbers(digits.Digits):
  """The digits as a set that was prepared by others."""


def make_records(root: pathlib.Path) -> None:
  """A prepared tfds set of two files a split."""
  Numbers(data_dir=root / 'data').download_and_prepare(
    download_config=tfds.download.DownloadConfig(num_shards=2)
  )


def keep_as_pretrained(root: pathlib.Path) -> None:
  (root / 'run').rename(root / 'pretrained')


_PHOTOS = {
  'dataset.name': 'folder',
  'dataset.path': 'ROOT/photos',
  'label_fraction': 1.0,
  'augment.crop': 'random_resized',
}
_RECORDS = {'dataset.name': 'numbers', 'dataset.data_dir': 'ROOT/data'}
_ON_DISK = _RECORDS | {'dataset.cache_gib': 0.0}
_PRETRAINED = {'init_from': 'ROOT/pretrained'}
_RUNS = ('run/', 'pretrained/')
_DATA = ('data/', 'photos/', 'cache/')
JOBS = {
  'pretrain': Job('pretrain', {}),
  'pretrain-continued': Job('pretrain', {}, 'pretrain', True),
  'finetune': Job(
    'finetune',
    _PRETRAINED,
    'pretrain',
    fill=keep_as_pretrained,
    below=_RUNS,
    coarse=True,
  ),
  'finetune-continued': Job(
    'finetune', _PRETRAINED, 'finetune', True, below=_RUNS, coarse=True
  ),
  'photos': Job('finetune', _PHOTOS, fill=make_photos, below=_DATA),
  'photos-continued': Job('finetune', _PHOTOS, 'photos', True, below=_DATA),
  'records': Job('pretrain', _ON_DISK, fill=make_records, below=_DATA),
  'records-in-memory': Job(
    'pretrain', _RECORDS, fill=make_records, below=_DATA
  ),
}

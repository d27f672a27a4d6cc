"""A bucket with the digits, which the libraries' own clients ask."""

import itertools

import pytest

from benchmarks import bucket as bucket_lib
from configs import digits_pretrain
from selfie_jax.data import datasets

NAMES = map('bucket{}'.format, itertools.count())


@pytest.fixture(scope='module')
def served(tmp_path_factory):
  """A bucket, and a folder with the digits."""
  bucket, folder = bucket_lib.Bucket(), tmp_path_factory.mktemp('digits')
  with pytest.MonkeyPatch.context() as patch, bucket.serve() as environment:
    for name, value in environment.items():
      patch.setenv(name, value)
    dataset = digits_pretrain.get_config('tiny').dataset
    dataset.data_dir = str(folder)
    datasets.open_builder(dataset)
    yield bucket, folder


@pytest.fixture
def bucket(served, tmp_path, monkeypatch):
  """Holds the digits under a new name, and has met this machine never."""
  bucket, folder = served
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  bucket.name = next(NAMES)
  bucket.add_folder(folder, bucket.name)
  bucket.behaviour = bucket_lib.Behaviour()
  bucket.forget()
  return bucket

"""Random access finds the bytes and labels that tfds reads in order."""

import contextlib
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from selfie_jax import cache
from selfie_jax import errors
from selfie_jax.data import records
from selfie_jax.data import retry


class Shards(tfds.core.GeneratorBasedBuilder):
  """Fifty images of several sizes, grey and RGB alike."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'name': tfds.features.Text(),
          'image': tfds.features.Image(encoding_format='jpeg'),
          'label': tfds.features.ClassLabel(num_classes=7),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    rng = np.random.default_rng(0)
    for i in range(50):
      image = rng.integers(0, 256, (20 + i, 30, 3), np.uint8)
      yield i, {'name': 'n' * i, 'image': image, 'label': i % 7}


@pytest.fixture
def builder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  builder = Shards(data_dir=tmp_path / 'data')
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(num_shards=4)
  )
  assert len(builder.info.splits['train'].filepaths) == 4
  return builder


def _in_order(builder, split):
  config = tfds.ReadConfig(interleave_cycle_length=1)
  data = builder.as_dataset(
    split=split,
    decoders={'image': tfds.decode.SkipDecoding()},
    read_config=config,
  )
  return list(tfds.as_numpy(data))


@pytest.mark.parametrize(
  'split', ['train', 'train[:30%]', 'train[15:33]', 'train[40:]+train[:3]']
)
def test_every_record_is_found(builder, split):
  source = records.Records(builder, builder.info.splits[split])
  expected = _in_order(builder, split)
  assert source.size == len(expected)
  assert source.labels.dtype == np.int32
  assert source.labels.tolist() == [example['label'] for example in expected]
  order = np.random.default_rng(0).permutation(source.size)
  read = source.read(order)
  assert [source.encoded_image(record).numpy() for record in read] == [
    expected[i]['image'] for i in order
  ]


@pytest.fixture
def hiccup(monkeypatch):
  """Takes a file away, which is there again when it is looked for once more."""

  def hiccup(path):
    away = path.with_name('away')
    path.rename(away)

    def back(seconds):
      # Several threads wait, and one of them is the first.
      with contextlib.suppress(FileNotFoundError, FileExistsError):
        away.rename(path)

    monkeypatch.setattr(retry.time, 'sleep', back)
    return away

  return hiccup


@pytest.mark.parametrize('file', [0, 1, 3])
def test_a_hiccup_of_the_disk_changes_nothing(builder, hiccup, file):
  split = builder.info.splits['train']
  path = split.filepaths[file]
  whole = records.Records(builder, split)
  expected = whole.read(np.arange(50)), whole.labels.tolist()

  shutil.rmtree(cache.folder())
  away = hiccup(path)
  source = records.Records(builder, split)
  assert source.labels.tolist() == expected[1] and not away.exists()

  away = hiccup(path)
  assert source.read(np.arange(50)) == expected[0] and not away.exists()


def test_a_disk_that_stays_away_is_one_line(builder, hiccup, monkeypatch):
  source = records.Records(builder, builder.info.splits['train'])
  _ = source.labels
  path = builder.info.splits['train'].filepaths[1]
  hiccup(path)
  monkeypatch.setattr(retry, 'PAUSES', (0, 0))
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  for read in (
    lambda: source.read(np.arange(50)),
    lambda: records.Records(builder, builder.info.splits['train']).labels,
  ):
    with pytest.raises(errors.UserError, match='is not there') as caught:
      read()
    assert '\n' not in str(caught.value)


def test_index_is_kept_and_follows_the_files(builder, tmp_path, monkeypatch):
  split = builder.info.splits['train']

  def labels():
    return records.Records(builder, split).labels.tolist()

  first = labels()
  (kept,) = (tmp_path / 'cache').rglob('*.npz')
  with monkeypatch.context() as patch:
    patch.setattr(records.Records, '_make_index', None)
    assert labels() == first
  kept.write_bytes(b'broken')
  assert labels() == first
  # Another file of the same size, written later.
  path = split.filepaths[1]
  content = path.read_bytes()
  number = content.index(b'label') + len(b'label')
  place = content.index(b'\n\x01', number) + 2
  path.write_bytes(
    content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
  )
  os.utime(path, ns=(1, 1))
  with pytest.raises(errors.UserError, match='damaged'):
    labels()  # for the checksum is not right


def test_no_cache_folder_is_no_hindrance(builder, tmp_path, monkeypatch):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  source = records.Records(builder, builder.info.splits['train'])
  assert sorted(source.labels) == sorted(i % 7 for i in range(50))


def test_damaged_and_short_files_are_named(builder):
  split = builder.info.splits['train']
  path = split.filepaths[1]
  content = path.read_bytes()
  path.write_bytes(content[:-7])
  with pytest.raises(errors.UserError, match='damaged'):
    _ = records.Records(builder, split).labels
  path.write_bytes(split.filepaths[0].read_bytes() + content)
  with pytest.raises(errors.UserError, match='holds .* examples of'):
    _ = records.Records(builder, split).labels


def test_array_records_are_the_same_examples(builder, tmp_path):
  arrays = Shards(data_dir=tmp_path / 'arrays', file_format='array_record')
  arrays.download_and_prepare()
  for name in ('train', 'train[15:33]', 'train[40:]+train[:3]'):
    one, other = (
      records.Records(each, each.info.splits[name])
      for each in (builder, arrays)
    )
    assert one.size == other.size and one.metadata == other.metadata
    np.testing.assert_array_equal(one.labels, other.labels)
    order = np.random.default_rng(0).permutation(one.size)
    assert one.read(order) == other.read(order)
  assert re.search(r'array_record-\S+, example 0$', other.locate(10))


def test_a_hiccup_of_the_disk_changes_no_array_record(tmp_path, hiccup):
  builder = Shards(data_dir=tmp_path, file_format='array_record')
  builder.download_and_prepare()
  split = builder.info.splits['train']
  expected = records.Records(builder, split).read(np.arange(50))
  away = hiccup(split.filepaths[0])
  source = records.Records(builder, split)
  assert source.read(np.arange(50)) == expected and not away.exists()


def test_other_formats_are_refused(builder, monkeypatch):
  riegeli = tfds.core.FileFormat.RIEGELI
  monkeypatch.setattr(tfds.core.DatasetInfo, 'file_format', riegeli)
  with pytest.raises(errors.UserError, match='stored as riegeli; prepare it'):
    records.Records(builder, builder.info.splits['train'])

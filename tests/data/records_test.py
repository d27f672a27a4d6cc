"""Random access finds the bytes and labels that tfds reads in order."""

import contextlib
import os
import re
import shutil
import sys

import numpy as np
import own_photos
import prepared
import pytest
import tensorflow_datasets as tfds

from selfie_jax import cache
from selfie_jax import errors
from selfie_jax.data import records
from selfie_jax.data import retry


@pytest.fixture(scope='module')
def fifty(tmp_path_factory):
  """format -> the folder of fifty images of several sizes, in four files."""
  images = [
    own_photos.encode(own_photos.pixels(21 + 3 * i, 30, seed=i), 'JPEG')
    for i in range(50)
  ]
  folders = {}
  for form in ('tfrecord', 'array_record'):
    folders[form] = tmp_path_factory.mktemp(form)
    prepared.prepare(folders[form], {'train': images}, 4, file_format=form)
  return folders


@pytest.fixture(params=['tfrecord', 'array_record'])
def builder(request, fifty, tmp_path, monkeypatch):
  """Of a copy of the set, which a test may damage."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(retry, 'PAUSES', (0, 0))
  shutil.copytree(fifty[request.param], tmp_path / 'data')
  builder = tfds.builder('odd', data_dir=tmp_path / 'data')
  assert builder.info.file_format.value == request.param
  assert len(builder.info.splits['train'].filepaths) == 4
  return builder


tfrecord = pytest.mark.parametrize('builder', ['tfrecord'], indirect=True)


def _in_order(builder, split):
  encoded = {'image': tfds.decode.SkipDecoding()}
  if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
    return list(builder.as_data_source(split, decoders=encoded))
  config = tfds.ReadConfig(interleave_cycle_length=1)
  data = builder.as_dataset(split, decoders=encoded, read_config=config)
  return list(tfds.as_numpy(data))


@tfrecord
def test_no_example_is_in_a_split_twice(builder):
  split = builder.info.splits['train[:60%]+train[40%:]']
  with pytest.raises(errors.UserError, match='10 examples are twice in'):
    records.Records(builder, split)


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
  assert re.search(r'train\.\w+record-\S+, example \d+$', source.locate(10))


@pytest.mark.parametrize('file', [0, 3])
def test_a_hiccup_of_the_disk_changes_nothing(builder, monkeypatch, file):
  """The file is there again when it is looked for once more."""
  split = builder.info.splits['train']
  path = split.filepaths[file]
  away = path.with_name('away')
  whole = records.Records(builder, split)
  expected = whole.read(np.arange(50)), whole.labels.tolist()

  def back(seconds):
    # Several threads wait, and one of them is the first.
    with contextlib.suppress(FileNotFoundError, FileExistsError):
      away.rename(path)

  monkeypatch.setattr(retry.time, 'sleep', back)
  shutil.rmtree(cache.folder())
  path.rename(away)
  source = records.Records(builder, split)
  assert source.labels.tolist() == expected[1] and not away.exists()
  path.rename(away)
  assert source.read(np.arange(50)) == expected[0]
  # ArrayRecord may have kept the file open.
  is_tfrecord = builder.info.file_format is tfds.core.FileFormat.TFRECORD
  assert not (is_tfrecord and away.exists())


@tfrecord
def test_index_is_kept_and_follows_the_files(builder, monkeypatch):
  split = builder.info.splits['train']

  def labels():
    return records.Records(builder, split).labels.tolist()

  first = labels()
  with monkeypatch.context() as patch:
    patch.setattr(records.Records, '_make_index', None)
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


@tfrecord
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


@pytest.mark.parametrize('builder', ['array_record'], indirect=True)
def test_without_its_package_array_record_says_what_to_install(
  builder, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'array_record.python', None)
  with pytest.raises(
    errors.UserError, match='pip install array_record'
  ) as caught:
    _ = records.Records(builder, builder.info.splits['train']).labels
  assert caught.value.exit_code == 2


@pytest.mark.parametrize('builder', ['array_record'], indirect=True)
def test_a_damaged_array_record_is_no_error_of_the_disk(builder):
  split = builder.info.splits['train']
  path = split.filepaths[1]
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  with pytest.raises(errors.UserError, match='damaged') as caught:
    _ = records.Records(builder, split).labels
  assert caught.value.exit_code == 2


@tfrecord
def test_other_formats_are_refused(builder, monkeypatch):
  riegeli = tfds.core.FileFormat.RIEGELI
  monkeypatch.setattr(tfds.core.DatasetInfo, 'file_format', riegeli)
  with pytest.raises(errors.UserError, match='stored as riegeli; prepare it'):
    records.Records(builder, builder.info.splits['train'])

"""Random access finds the bytes and labels that tfds reads in order."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import digits
from selfie_jax.data import records


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


def test_index_is_kept_and_follows_the_files(builder, tmp_path, monkeypatch):
  split = builder.info.splits['train']
  labels = records.Records(builder, split).labels
  kept = list((tmp_path / 'cache').rglob('*.npz'))
  assert len(kept) == 1
  with monkeypatch.context() as patch:
    patch.setattr(records, '_make_index', None)
    assert records.Records(builder, split).labels.tolist() == labels.tolist()
  kept[0].write_bytes(b'broken')
  assert records.Records(builder, split).labels.tolist() == labels.tolist()


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


def test_other_formats_are_refused(tmp_path):
  builder = digits.Digits(data_dir=tmp_path, file_format='array_record')
  builder.download_and_prepare()
  with pytest.raises(errors.UserError, match='array_record'):
    _ = records.Records(builder, builder.info.splits['train']).labels

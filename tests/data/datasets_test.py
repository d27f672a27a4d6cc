"""A name becomes a prepared builder, or one line that says what to type."""

import os
import pathlib

import ml_collections
import pytest
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import datasets


def _dataset(name, data_dir='', download=True):
  return ml_collections.ConfigDict(
    {'name': name, 'data_dir': str(data_dir), 'download': download}
  )


def _message(dataset):
  with pytest.raises(errors.UserError) as caught:
    datasets.open_builder(dataset)
  message = str(caught.value)
  assert '\n' not in message
  return message


@pytest.fixture
def no_download(monkeypatch):
  monkeypatch.delattr(tfds.core.DatasetBuilder, 'download_and_prepare')


def test_digits_live_in_the_cache_folder(tmp_path, monkeypatch, capfd):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', '/nowhere')
  builder = datasets.open_builder(_dataset('digits', download=False))
  assert builder.data_path.is_relative_to(tmp_path / 'selfie_jax' / 'tfds')
  assert builder.info.splits['test'].num_examples == 300
  assert capfd.readouterr().out == ''


def test_second_of_two_uses_the_firsts_digits(tmp_path, monkeypatch):
  dataset = _dataset('digits', tmp_path)

  def prepare(builder, **kwargs):
    monkeypatch.undo()
    datasets.open_builder(dataset)
    raise OSError('Directory not empty')

  monkeypatch.setattr(datasets.digits.Digits, 'download_and_prepare', prepare)
  builder = datasets.open_builder(dataset)
  assert builder.info.splits['test'].num_examples == 300


def test_digits_where_nothing_can_be_written(tmp_path):
  file = tmp_path / 'file'
  file.touch()
  message = _message(_dataset('digits', file))
  assert str(file) in message and '--config.dataset.data_dir=' in message


@pytest.mark.parametrize('lost', ['*-test.*', '*.json', '*'])
def test_a_set_of_which_files_are_missing(tmp_path, lost):
  folder = datasets.open_builder(_dataset('digits', tmp_path)).data_path
  for path in folder.glob(lost):
    path.unlink()
  message = _message(_dataset('digits', tmp_path))
  assert message.startswith(f'{folder} lacks files of the data set')


def test_unknown_name(tmp_path):
  message = _message(_dataset('cifar11', tmp_path))
  assert "no data set 'cifar11' in tfds or in " + str(tmp_path) in message
  assert "'digits'" in message


def test_unknown_variant_and_malformed_name(tmp_path):
  assert '32x32' in _message(_dataset('imagenet_resized/33x33', tmp_path))
  assert "'Bad Name!'" in _message(_dataset('Bad Name!', tmp_path))


def test_unsuitable_features_are_listed(tmp_path):
  message = _message(_dataset('coco', tmp_path))
  assert 'objects (Sequence)' in message and "'label' (ClassLabel)" in message


def test_set_that_may_not_be_downloaded(tmp_path, no_download):
  message = _message(_dataset('cifar100', tmp_path, download=False))
  for part in (
    'cifar100',
    str(tmp_path),
    'dataset.download is False',
    'download_and_prepare()',
    'configs/digits_pretrain.py',
  ):
    assert part in message


def test_set_to_be_fetched_by_hand(tmp_path, no_download):
  message = _message(_dataset('imagenet2012', tmp_path))
  assert f'by hand into {tmp_path}/downloads/manual: ' in message
  assert 'ILSVRC2012_img_train.tar' in message
  assert 'to get the link to download the dataset' in message  # to its end
  assert not os.listdir(tmp_path)
  assert 'configs/digits_pretrain.py' in message


def test_splits_and_their_parts(tmp_path):
  builder = datasets.open_builder(_dataset('digits', tmp_path))
  assert datasets.open_split(builder, 'train').num_examples == 1497
  assert datasets.open_split(builder, 'train[:10%]').num_examples == 150
  for name in ('nope', 'train[', '', 'test[5%:2%]'):
    with pytest.raises(errors.UserError) as caught:
      datasets.open_split(builder, name)
    assert "'train' (1,497 images), 'test' (300 images)" in str(caught.value)


@pytest.mark.parametrize(
  'name, train',
  [
    ('cifar10', 50000),
    ('tiny_imagenet/64x64_subset', 20000),
    ('imagenette224/subset', 1800),
  ],
)
def test_prepared_folders(name, train):
  folder = pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere'))
  if not (folder / name).exists():
    pytest.skip(f'TFDS_DATA_DIR holds no {name}')
  builder = datasets.open_builder(_dataset(name, folder, download=False))
  assert builder.info.splits['train'].num_examples == train

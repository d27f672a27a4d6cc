"""A name becomes a prepared builder, or one line that says what to type."""

import os
from unittest import mock

import ml_collections
import pytest
import tensorflow_datasets as tfds

from selfie_jax import errors
from selfie_jax.data import datasets
from selfie_jax.data import digits
from selfie_jax.data import retry


def _dataset(name, data_dir='', download=True):
  return ml_collections.ConfigDict(
    {'name': name, 'data_dir': str(data_dir), 'download': download}
  )


def _message(dataset):
  with pytest.raises(errors.UserError) as caught:
    datasets.open_builder(dataset)
  return str(caught.value)


def test_digits_live_in_the_cache_folder(tmp_path, monkeypatch, capfd):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', '/nowhere')
  builder = datasets.open_builder(_dataset('digits', download=False))
  assert builder.data_path.is_relative_to(tmp_path / 'selfie_jax' / 'tfds')
  assert builder.info.splits['test'].num_examples == 300
  assert capfd.readouterr().out == ''


def test_digits_where_nothing_can_be_written(tmp_path):
  file = tmp_path / 'file'
  file.touch()
  message = _message(_dataset('digits', file))
  assert str(file) in message and '--config.dataset.data_dir=' in message


@pytest.mark.parametrize('lost', ['*-test.*', '*'])
def test_a_set_of_which_files_are_missing(tmp_path, lost):
  folder = datasets.open_builder(_dataset('digits', tmp_path)).data_path
  for path in folder.glob(lost):
    path.unlink()
  message = _message(_dataset('digits', tmp_path))
  assert message.startswith(f'{folder} lacks files of the data set')


@pytest.mark.parametrize(
  'name, says',
  [
    ('cifar11', ["no data set 'cifar11' in tfds or in {}", "'digits'"]),
    ('cifar10:9.9.9', ["'cifar10:9.9.9' cannot be", '(Dataset', 'only: 3.0.2']),
    ('coco', ['objects (Sequence)', "'label' (ClassLabel)"]),
    (
      'cifar100',
      ["'cifar100' is not in {}", 'dataset.download is False']
      + ['download_and_prepare()', 'configs/digits_pretrain.py'],
    ),
    (
      'imagenet2012',
      ['by hand into {}/downloads/manual: ', 'ILSVRC2012_img_train.tar']
      # To the end of tfds's text.
      + ['to get the link to download the dataset', 'digits_pretrain.py'],
    ),
  ],
)
def test_a_set_that_cannot_be_had(tmp_path, monkeypatch, name, says):
  monkeypatch.delattr(tfds.core.DatasetBuilder, 'download_and_prepare')
  dataset = _dataset(name, tmp_path, download=name != 'cifar100')
  message = _message(dataset)
  for part in says:
    assert part.format(tmp_path) in message
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize('name', ['digits', 'cifar10'])
def test_a_network_that_fails_may_pass(tmp_path, monkeypatch, name):
  fails = mock.Mock(side_effect=TimeoutError('timed out'))
  monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', fails)
  monkeypatch.setattr(retry, 'PAUSES', ())
  with pytest.raises(errors.MayPass, match='timed out'):
    datasets.open_builder(_dataset(name, tmp_path))


def test_another_process_may_prepare_a_set_first(tmp_path, monkeypatch):
  """As tfds finds the folder there when it renames its own to it."""
  prepare = digits.Digits.download_and_prepare

  def by_two(builder):
    prepare(digits.Digits(data_dir=tmp_path))
    raise FileExistsError(f'Cannot rename: {builder.data_path} already exists')

  monkeypatch.setattr(
    datasets, '_find', lambda *_: digits.Digits(data_dir=tmp_path)
  )
  monkeypatch.setattr(digits.Digits, 'download_and_prepare', by_two)
  builder = datasets.open_builder(_dataset('another', tmp_path))
  assert builder.info.splits['test'].num_examples == 300


def test_splits_and_their_parts(tmp_path):
  builder = datasets.open_builder(_dataset('digits', tmp_path))
  assert datasets.open_split(builder, 'train').num_examples == 1497
  assert datasets.open_split(builder, 'train[:10%]').num_examples == 150
  for name in ('nope', 'train[', '', 'test[5%:2%]'):
    known = r"'train' \(1,497 images\), 'test' \(300 images\)"
    with pytest.raises(errors.UserError, match=known):
      datasets.open_split(builder, name)

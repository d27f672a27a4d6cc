"""A disk that fails for a moment changes nothing; one that stays so is said."""

import errno
import os
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from selfie_jax import errors
from selfie_jax.data import reading
from selfie_jax.data import retry


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
  monkeypatch.setattr(retry, 'PAUSES', (0, 0, 0))


HICCUPS = [
  OSError(errno.EIO, 'Input/output error'),
  OSError(errno.ENOSPC, 'No space left on device'),
  InterruptedError(errno.EINTR, 'Interrupted system call'),
  tf.errors.UnavailableError(None, None, 'try later'),
  tf.errors.DataLossError(None, None, 'corrupted record at 7'),
  tf.errors.NotFoundError(None, None, 'gs://ours/file'),
]


@pytest.mark.parametrize('error', HICCUPS, ids=str)
def test_an_error_of_the_disk_is_tried_again_and_then_raised(error):
  read = mock.Mock(side_effect=[error] * len(retry.PAUSES) + ['read'])
  assert retry.with_retries('file', read) == 'read'
  read = mock.Mock(side_effect=error)
  with pytest.raises(errors.UserError, match=r'^file '):
    retry.with_retries('file', read)
  assert read.call_count == len(retry.PAUSES) + 1


def test_another_error_passes_at_once():
  for error in (
    tf.errors.InvalidArgumentError(None, None, 'no image'),
    ValueError('no number'),
  ):
    read = mock.Mock(side_effect=error)
    with pytest.raises(type(error)):
      retry.with_retries('file', read)
    read.assert_called_once()


def test_it_is_said_how_far_a_long_reading_is(log_messages, monkeypatch):
  monkeypatch.setattr(retry, 'LOG_EVERY', 0.0)
  retry.Progress('Looking', 'files', 2000).add(1500)
  assert 'Looking: 1,500 of 2,000 files' in log_messages.text


def test_it_says_whose_fault_it_is(tmp_path):
  (tmp_path / 'short').write_bytes(b'12345')
  assert reading.read(str(tmp_path / 'short'), 1, 3) == b'234'
  with pytest.raises(errors.UserError, match='error of the disk or the netw'):
    reading.read(str(tmp_path / 'short'), 3, 3)
  with pytest.raises(errors.UserError, match='nothing is not there'):
    reading.read(str(tmp_path / 'nothing'))


@pytest.fixture
def stored(tmp_path, monkeypatch):
  """(function that makes or loads arrays, the file of the cache)."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

  def call():
    make = mock.Mock(return_value={'x': np.arange(100), 'y': np.ones(3)})
    arrays = retry.cached(['key'], make, lambda x: x['x'].shape == (100,))
    assert arrays['x'].tolist() == list(range(100))
    assert arrays['y'].tolist() == [1, 1, 1]
    return make.called

  assert call()
  (path,) = (tmp_path / 'cache').rglob('*.npz')
  assert not call()
  return call, path


def test_a_damaged_file_of_the_cache_is_made_again(stored):
  call, path = stored
  whole = path.read_bytes()
  others = [{'x': np.arange(7), 'y': np.arange(7)}, {'y': np.arange(7)}]
  for content in (
    *(whole[:end] for end in range(0, len(whole), 97)),
    *map(retry.pack, others),  # of another set
  ):
    path.write_bytes(content)
    assert call() and not call()
  for place in range(0, len(whole), 41):
    content = bytearray(whole)
    content[place] ^= 0x41
    path.write_bytes(content)
    call()
    assert not call()


def test_a_disk_that_fails_is_no_empty_cache(stored, monkeypatch):
  call, path = stored
  error = OSError(errno.EIO, 'Input/output error')
  read = mock.Mock(side_effect=[error, path.read_bytes()])
  monkeypatch.setattr(type(path), 'read_bytes', read)
  assert not call()
  read.side_effect = error
  with pytest.raises(errors.MayPass, match='error of the disk'):
    call()


def test_the_cache_drops_what_was_used_longest_ago(stored, monkeypatch):
  call, path = stored
  others = [path.with_name(f'{i}.npz') for i in range(3)]
  for i, other in enumerate(others):
    other.write_bytes(bytes(1000))
    os.utime(other, ns=(i, i))
  os.utime(path, (1, 1))
  assert not call()  # used
  content = retry.pack({'z': np.zeros(1)})
  limit = path.stat().st_size + 1000 + len(content)
  monkeypatch.setattr(retry, 'CACHE_GIB', limit / 2**30)
  retry.cached(['new'], lambda: {'z': np.zeros(1)}, bool)
  assert path.exists() and [x.exists() for x in others] == [False, False, True]

"""A disk that fails for a moment changes nothing; one that stays so is said."""

import errno
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from selfie_jax import errors
from selfie_jax.data import disk
from selfie_jax.data.photos import files as files_lib
from selfie_jax.data.photos import images


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
  monkeypatch.setattr(disk, 'PAUSES', (0, 0, 0))


def _failing(error, times):
  """A function that works after so many calls, and the list of its calls."""
  calls = []

  def read():
    calls.append(len(calls))
    if len(calls) <= times:
      raise error
    return 'read'

  return read, calls


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
  read, _ = _failing(error, len(disk.PAUSES))
  assert disk.patiently('file', read) == 'read'
  read, calls = _failing(error, 99)
  with pytest.raises(errors.UserError, match=r'^file ') as caught:
    disk.patiently('file', read)
  assert '\n' not in str(caught.value)
  assert len(calls) == len(disk.PAUSES) + 1


def test_another_error_passes_at_once():
  for error in (
    tf.errors.InvalidArgumentError(None, None, 'no image'),
    ValueError('no number'),
    errors.UserError('no such thing'),
  ):
    read, calls = _failing(error, 99)
    with pytest.raises(type(error)):
      disk.patiently('file', read)
    assert len(calls) == 1


def test_it_says_whose_fault_it_is(tmp_path):
  (tmp_path / 'short').write_bytes(b'12345')
  assert disk.read(str(tmp_path / 'short'), 1, 3) == b'234'
  with pytest.raises(errors.UserError, match='error of the disk or the netw'):
    disk.read(str(tmp_path / 'short'), 3, 3)
  with pytest.raises(errors.UserError, match='nothing is not there'):
    disk.read(str(tmp_path / 'nothing'))


def _touch(root, *files):
  for file in files:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).touch()


def test_links_in_a_circle_come_to_an_end(tmp_path):
  _touch(tmp_path, *(f'{x}/{i}.png' for x in 'ab' for i in range(10)))
  (tmp_path / 'a' / 'tob').symlink_to('../b')
  (tmp_path / 'b' / 'toa').symlink_to('../a')
  (tmp_path / 'a' / 'up').symlink_to('..')
  (tmp_path / 'itself').symlink_to('itself')
  found = files_lib.walk(str(tmp_path))
  assert found.pop('itself') == (1, str(tmp_path / 'itself'))
  assert found['a/tob/3.png'] == (1, str(tmp_path / 'b' / '3.png'))
  assert len(found) == 40
  assert files_lib.once(found) == {
    f'{x}/{i}.png' for x in 'ab' for i in range(10)
  }


def test_the_walk_is_the_same_whatever_the_order_of_the_folder(
  tmp_path, monkeypatch
):
  _touch(tmp_path, 'c/1.png', 'c/d/2.png', '.no/3.png', 'c/._1.png')
  for name in ('a', 'b'):
    (tmp_path / name).symlink_to('c')
  (tmp_path / 'c' / 'again').symlink_to('d')
  expected = {
    f'{top}/{file}': (int(top != 'c'), str(tmp_path / 'c' / file))
    for top in 'abc'
    for file in ('1.png', 'd/2.png')
  }
  found = files_lib.walk(str(tmp_path))
  assert found == expected and list(found) == sorted(found)
  assert files_lib.once(found) == {'c/1.png', 'c/d/2.png'}

  real = os.scandir

  class Backwards:
    def __init__(self, folder):
      self._entries = real(folder)

    def __enter__(self):
      return reversed(list(self._entries))

    def __exit__(self, *_):
      self._entries.close()

  monkeypatch.setattr(os, 'scandir', Backwards)
  assert list(files_lib.walk(str(tmp_path)).items()) == list(found.items())


def test_links_out_of_the_folder_are_followed(tmp_path):
  _touch(tmp_path, 'far/x/1.png', 'near/2.png')
  (tmp_path / 'near' / 'cat').symlink_to(tmp_path / 'far')
  (tmp_path / 'far' / 'x' / 'back').symlink_to(tmp_path / 'near')
  found = files_lib.walk(str(tmp_path / 'near'))
  assert sorted(files_lib.once(found)) == ['2.png', 'cat/x/1.png']
  assert images.find(tmp_path / 'near') == ['2.png', 'cat/x/1.png']


def test_progress_is_said_without_a_terminal(
  tmp_path, log_messages, monkeypatch
):
  progress = disk.Progress('Reading', 'images', 60_000)
  progress.add(5)
  assert not log_messages.text
  monkeypatch.setattr(disk, 'SAY_EVERY', 0)
  progress.add(12_000)
  assert 'Reading: 12,005 of 60,000 images' in log_messages.text
  _touch(tmp_path, 'a/1.png')
  files_lib.walk(str(tmp_path))
  assert f'Listing {tmp_path}: 1 files' in log_messages.text


@pytest.fixture
def kept(tmp_path, monkeypatch):
  """(function that remembers an array, the file of the cache)."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

  def remember():
    made = []

    def make():
      made.append(True)
      return {'x': np.arange(100), 'y': np.ones(3)}

    arrays = disk.remembered(['key'], make)
    assert arrays['x'].tolist() == list(range(100))
    assert arrays['y'].tolist() == [1, 1, 1]
    return bool(made)

  assert remember()
  (path,) = (tmp_path / 'cache').rglob('*.npz')
  assert not remember()
  return remember, path


def test_a_damaged_file_of_the_cache_is_made_again(kept):
  remember, path = kept
  whole = path.read_bytes()
  for end in range(0, len(whole), 97):
    path.write_bytes(whole[:end])
    assert remember() and not remember()
  for place in range(0, len(whole), 41):
    path.write_bytes(
      whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :]
    )
    remember()
    assert not remember()


def test_a_disk_that_fails_is_no_empty_cache(kept, monkeypatch):
  remember, path = kept
  path_type, failures = type(path), [1]

  def read_bytes(self):
    if self == path and failures:
      failures.pop()
      raise OSError(errno.EIO, 'Input/output error')
    with open(self, 'rb') as file:
      return file.read()

  monkeypatch.setattr(path_type, 'read_bytes', read_bytes)
  assert not remember() and not failures
  failures.extend([1] * 99)
  with pytest.raises(errors.UserError, match='error of the disk'):
    remember()


def test_a_full_disk_leaves_nothing_in_the_cache(kept, monkeypatch):
  remember, path = kept
  shutil.rmtree(path.parent)

  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'replace', full)  # after all has been written
  assert remember() and not os.listdir(path.parent)

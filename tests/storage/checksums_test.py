"""A checkpoint that was damaged is known before anything is read from it."""

import json
import shutil

from etils import epath
import pytest

from selfie_jax.storage import checksums


@pytest.fixture
def checkpoint(tmp_path):
  """A folder as orbax leaves it, listed before its last renaming."""
  checkpoints = epath.Path(tmp_path) / 'checkpoints'
  for name in ('20', '100.orbax-checkpoint-tmp'):
    folder = checkpoints / name
    (folder / 'state' / 'd').mkdir(parents=True)
    (folder / 'state' / 'd' / 'data').write_bytes(bytes(range(200)))
    (folder / 'progress').write_text('{}')
    (folder / '_CHECKPOINT_METADATA').write_text('{}')
  checksums.list_newest(checkpoints)
  (checkpoints / '100.orbax-checkpoint-tmp').rename(checkpoints / '100')
  # Written again by orbax after the list.
  (checkpoints / '100' / '_CHECKPOINT_METADATA').write_text('{"commit": 1}')
  return checkpoints / '100'


def flip_a_bit(checkpoint):
  path = checkpoint / 'state' / 'd' / 'data'
  content = bytearray(path.read_bytes())
  content[77] ^= 4
  path.write_bytes(bytes(content))


def empty_all_files(checkpoint):
  for path in checksums._files(checkpoint):
    path.write_bytes(b'')


DAMAGES = {
  'shorter': (
    lambda c: (c / 'state' / 'd' / 'data').write_bytes(bytes(50)),
    'state/d/data has 50 bytes instead of 200',
  ),
  'a bit': (flip_a_bit, 'state/d/data is not what was written'),
  'emptied': (empty_all_files, 'damaged'),
  'a file gone': (lambda c: (c / 'progress').unlink(), 'progress is missing'),
  'a folder gone': (lambda c: (c / 'state').rmtree(), 'data is missing'),
  'nothing left': (lambda c: (c.rmtree(), c.mkdir()), 'json is missing'),
  'no list': (lambda c: (c / checksums.LIST).unlink(), 'json is missing'),
  'no metadata': (
    lambda c: (c / '_CHECKPOINT_METADATA').write_text(''),
    '_CHECKPOINT_METADATA is damaged',
  ),
}


def test_whole_one_is_whole_and_only_the_newest_is_listed(checkpoint):
  assert checksums.is_whole(checkpoint)
  listed = json.loads((checkpoint / checksums.LIST).read_text())
  assert sorted(listed) == ['progress', 'state/d/data']
  assert not (checkpoint.parent / '20' / checksums.LIST).exists()


@pytest.mark.parametrize('damage', DAMAGES)
def test_damage_is_found_and_named(checkpoint, damage, caplog):
  do, said = DAMAGES[damage]
  do(checkpoint)
  assert not checksums.is_whole(checkpoint)
  assert said in caplog.text and str(checkpoint) in caplog.text


def test_put_aside_twice_keeps_the_later(checkpoint):
  copy = checkpoint.parent / 'copy'
  shutil.copytree(checkpoint, copy)
  checksums.put_aside(checkpoint)
  copy.rename(checkpoint)
  (checkpoint / 'mark').write_text('')
  checksums.put_aside(checkpoint)
  assert not checkpoint.exists()
  assert (checkpoint.parent.parent / 'damaged' / '100' / 'mark').exists()

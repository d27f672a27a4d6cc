"""Files below a folder: each once, whatever links lead to it."""

import contextlib
import os

from selfie_jax.data.photos import files as files_lib
from selfie_jax.inference import images


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
  assert found.pop('itself') == str(tmp_path / 'itself')
  assert found['a/tob/3.png'] == str(tmp_path / 'b' / '3.png')
  assert len(found) == 40
  assert files_lib.distinct(found) == {
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
    f'{top}/{file}': str(tmp_path / 'c' / file)
    for top in 'abc'
    for file in ('1.png', 'd/2.png')
  }
  found = files_lib.walk(str(tmp_path))
  assert found == expected and list(found) == sorted(found)
  assert files_lib.distinct(found) == {'c/1.png', 'c/d/2.png'}

  real = os.scandir

  @contextlib.contextmanager
  def backwards(folder):
    with real(folder) as entries:
      yield reversed(list(entries))

  monkeypatch.setattr(os, 'scandir', backwards)
  assert list(files_lib.walk(str(tmp_path)).items()) == list(found.items())


def test_links_out_of_the_folder_are_followed(tmp_path):
  _touch(tmp_path, 'far/x/1.png', 'near/2.png')
  (tmp_path / 'near' / 'cat').symlink_to(tmp_path / 'far')
  (tmp_path / 'far' / 'x' / 'back').symlink_to(tmp_path / 'near')
  found = files_lib.walk(str(tmp_path / 'near'))
  assert sorted(files_lib.distinct(found)) == ['2.png', 'cat/x/1.png']
  assert images.find(tmp_path / 'near') == ['2.png', 'cat/x/1.png']

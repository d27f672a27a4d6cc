"""Damaged images are left out and named; an error of the disk is none."""

import os
import pathlib
import re
import sys

import numpy as np
import own_photos
from PIL import Image
import pytest

from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data.photos import images

ROOT = pathlib.Path(__file__).resolve().parents[3]


MANY = {'dataset.max_unreadable': 0.5}


def test_damaged_ones_are_left_out_and_named(
  photos, open_photos, log_messages, capfd
):
  own_photos.save(photos / 'train' / 'cat' / 'good.jpg')
  expected = own_photos.decoded(open_photos()[0])
  bad = own_photos.bad_files(photos / 'train' / 'cat')
  source, _ = open_photos(**MANY)
  assert capfd.readouterr().err == ''  # nor a word of libraries
  assert source.labels.tolist() == [0] * 31 + [1] * 30
  np.testing.assert_array_equal(own_photos.decoded(source), expected)
  said = f'7 of the 68 images of {photos} train cannot be decoded: '
  (line,) = (x for x in log_messages.text.splitlines() if said in x)
  for name in bad[:3]:
    assert f'train/cat/{name} (' in line
  assert 'empty.jpg (empty)' in line
  assert 'text.jpg (no image of a known format)' in line
  assert '{{' not in line and '...' in line
  assert source.metadata['left_out'] == [f'train/cat/{name}' for name in bad]
  assert source.metadata['images'] == 68


def test_a_set_that_is_nearly_black_is_warned_of(
  photos, open_photos, log_messages
):
  """As of 12 bits stored as 16, of which the upper 8 are taken."""
  open_photos()
  assert 'nearly black' not in log_messages.text
  for path in (photos / 'train').glob('*/*.png'):
    own_photos.save(path, own_photos.pixels(seed=int(path.stem)) // 16)
  open_photos()
  (line,) = (x for x in log_messages.text.splitlines() if 'nearly black' in x)
  assert f'The images of {photos} train are' in line and 'as 16' in line


def test_a_class_without_a_readable_image_to_train_on_is_warned_of(
  photos, log_messages
):
  for path in (photos / 'train' / 'cat').iterdir():
    path.write_bytes(b'')
  sources = own_photos.open_sources(
    photos, 'finetune', **{'dataset.max_unreadable': 0.5}
  )
  assert np.bincount(sources[1].labels).tolist() == [5, 5]
  assert 'No image to train on is left of the classes cat, ' in (
    log_messages.text
  )


def test_damage_in_both_splits_is_found_at_once_with_one_advice(
  photos, open_photos
):
  """The share that is advised is enough for both, rounded up."""
  for name in ('train/cat/1.png', 'test/cat/1.png', 'test/dog/1.png'):
    (photos / name).write_bytes(b'')
  own_photos.save(photos / 'test' / 'cat' / 'one.png')
  says = (
    r'1 of the 60 images .*train/cat/1.png \(empty\)'
    r'.*2 of the 11 images .*test/dog/1.png \(empty\)'
    '.*--config.dataset.max_unreadable=0.182 or more'
  )
  with pytest.raises(errors.UserError, match=says):
    open_photos()
  sources = open_photos(**{'dataset.max_unreadable': 0.182})
  assert [source.size for source in sources] == [59, 9]


def test_a_hiccup_of_the_disk_does_not_shrink_the_set(
  photos, open_photos, hiccup
):
  path = photos / 'train' / 'cat' / '3.png'
  hiccup(2, path)
  assert open_photos(**MANY)[0].size == 60

  os.utime(path, (1, 1))  # to be looked at again
  hiccup(99, path)
  says = f'^{path} cannot be read .Input/output error.. This is .*error of the '
  with pytest.raises(errors.UserError, match=says + 'disk or the network and'):
    open_photos(**MANY)
  hiccup(0, path)
  assert open_photos(**MANY)[0].size == 60


def test_a_full_memory_is_no_damage(photos, open_photos, monkeypatch):
  """Neither now nor in the cache, for later starts."""
  content = (photos / 'train' / 'cat' / '3.png').read_bytes()
  real = images.plain

  def fail(given):
    if given == content:
      raise MemoryError
    return real(given)

  with monkeypatch.context() as patch:
    patch.setattr(images, 'plain', fail)
    with pytest.raises(errors.MayPass, match='can be: train/cat/3.png'):
      open_photos(**MANY)
  assert open_photos(**MANY)[0].size == 60


def test_one_process_looks_and_all_leave_out_what_it_says(
  photos, open_photos, monkeypatch
):
  """Two processes, of which the second reads one image better or worse."""
  bad = photos / 'train' / 'cat' / '3.png'
  content, sent = bad.read_bytes(), []

  def open_training(broadcast):
    monkeypatch.setattr(distributed, 'broadcast_from_primary', broadcast)
    return open_photos(**MANY)[0]

  def primary(make):
    sent.append(make())
    return sent[-1]

  bad.write_bytes(bytes(len(content)))
  first = open_training(primary)
  bad.write_bytes(content)
  answers = iter(sent)
  second = open_training(lambda _: next(answers))
  assert first.size == second.size == 59
  assert first.metadata == second.metadata
  np.testing.assert_array_equal(*map(own_photos.decoded, (first, second)))
  np.testing.assert_array_equal(first.labels, second.labels)
  bad.write_bytes(b'')
  if first.in_memory:
    with pytest.raises(errors.UserError, match='3.png can be decoded by the f'):
      open_training(lambda _: np.empty(0, np.int64))


def test_the_documents_shrinking_leaves_bad_out(tmp_path, monkeypatch, capsys):
  text = (ROOT / 'docs' / 'own_images.md').read_text()
  code = re.search(r"python - photos small <<'EOF'\n(.*?)\nEOF", text, re.S)[1]
  large, bad = tmp_path / 'photos' / 'a' / '1.JPEG', tmp_path / 'photos' / 'b'
  own_photos.save(large, own_photos.pixels(900, 600))
  own_photos.bad_files(bad)
  (bad / '._2.png').write_bytes(b'of macOS')
  deep = np.linspace(0, 65535, 10_000).reshape(100, 100).astype(np.uint16)
  Image.fromarray(deep).save(bad / '16 bits.png')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'argv', ['-', 'photos', 'small'])
  exec(code, {})
  made = sorted(pathlib.Path('small').rglob('*.*'))
  names = 'a/1.JPEG', 'b/16 bits.png', 'b/good.jpg'
  assert made == [pathlib.Path('small', name) for name in names]
  assert Image.open(made[0]).size == (341, 512)
  assert 120 < np.asarray(Image.open(made[1])).mean() < 135
  assert capsys.readouterr().out.count('left out: photos/b/') == 7

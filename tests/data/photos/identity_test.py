"""A photo is one photo, however it is listed, linked or spelt."""

import json
import os
import shutil

import numpy as np
import own_photos
import pytest

from selfie_jax.data.photos import listing
from selfie_jax.inference import images
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


def _held_out(path):
  test = listing.find(str(path), 'train', 'test').splits['test']
  return sorted(entry.real for entry in test)


def test_links_show_no_photo_twice(photos, log_messages):
  """Neither in training and test, nor again in a class."""
  (photos / 'test' / 'cat' / 'train').symlink_to(photos / 'train' / 'cat')
  (photos / 'train' / 'dog' / 'test').symlink_to(photos / 'test' / 'dog')
  (photos / 'train' / 'dog' / 'again.png').symlink_to('0.png')
  sources = own_photos.open_sources(photos)
  assert [source.size for source in sources] == [60, 10]
  assert f'{photos}: 36 images are there twice, by links' in log_messages.text
  farm = photos.parent / 'farm'
  for name in ('train', 'test'):
    farm.mkdir(exist_ok=True)
    (farm / name).symlink_to(photos / name)
  assert own_photos.sizes(farm) == [60, 10]


def test_a_link_takes_no_class_away(photos):
  (photos / 'train' / '0.png').symlink_to('cat/0.png')
  for source in own_photos.open_sources(photos / 'train'):
    assert (source.labels >= 0).all()


def test_splits_may_be_links_into_a_folder_of_all(photos):
  """Which is listed before them, and is neither trained nor tested on."""
  (photos / 'all').mkdir()
  for split in ('train', 'test'):
    for path in list((photos / split).glob('*/*.png')):
      kept = photos / 'all' / f'{split}_{path.parent.name}_{path.name}'
      path.rename(kept)
      path.symlink_to(kept)
  sources = own_photos.open_sources(photos)
  assert [source.size for source in sources] == [60, 10]
  assert np.bincount(sources[0].labels).tolist() == [30, 30]


def test_a_folder_and_a_table_hold_out_the_same_images(photos, tmp_path):
  """A tenth of each class, however the table spells them, from wherever."""
  shutil.rmtree(photos / 'test')
  sources = own_photos.open_sources(photos)
  for source, each in zip(sources, (27, 3), strict=True):
    assert np.bincount(source.labels).tolist() == [each, each]
  found = listing.find(str(photos), 'train', 'test').splits
  both = [{entry.file for entry in part} for part in found.values()]
  assert not both[0] & both[1]
  files = [path.relative_to(tmp_path) for path in sorted(photos.rglob('*.png'))]
  (tmp_path / 'linked').symlink_to(photos)
  expected = _held_out(photos)
  for start in ('', f'{tmp_path}/', 'linked/../'):
    rows = [f'{start}{file},{file.parent.name}' for file in files]
    table = own_photos.table(tmp_path / 'mine.csv', 'file,label', *rows)
    assert _held_out(table) == expected
  assert _held_out(photos / 'train') == expected
  assert _held_out(tmp_path / 'linked') == expected
  other = tmp_path / 'other' / 'cat.png'
  own_photos.save(other)
  own_photos.table(table, 'file,label', f'{other},bird', *rows)
  assert _held_out(table) == expected  # though the folder of all is another
  shutil.copytree(photos, tmp_path / 'elsewhere')
  again = listing.find(str(tmp_path / 'elsewhere'), 'train', 'test')
  assert again.splits == found


def test_unicode_forms_of_a_name_are_one(photos, tmp_path):
  """Of a class, and of a file that a table names."""
  composed, parted = 'caf\u00e9', 'cafe\u0301'
  for name, label in ((composed, composed), (parted, parted)):
    own_photos.save(photos / 'train' / label / f'{name}.png')
  source, _ = own_photos.open_sources(photos)
  assert source.class_names == [composed, 'cat', 'dog']
  (photos / 'train' / composed / f'{composed}.png').unlink()
  table = own_photos.table(
    photos / 'mine.csv',
    'file,label,split',
    f'train/{parted}/{composed}.png,{parted},',
    'train/cat/1.png,cat,',
    f'test/cat/1.png,{composed},test',
  )
  os.rmdir(photos / 'train' / composed)
  source, _ = own_photos.open_sources(table)
  assert source.class_names == [composed, 'cat']
  assert own_photos.decoded(source).shape == (2, 32, 32, 3)


def test_names_that_are_not_utf8_are_escaped(photos):
  odd = os.fsdecode(b'caf\xe9')
  own_photos.save(photos / 'train' / odd / f'{odd}.png')
  (photos / 'train' / odd / f'{odd}.jpg').write_bytes(b'')
  source, _ = own_photos.open_sources(photos, **{'dataset.max_unreadable': 0.1})
  assert source.class_names == ['caf\\xe9', 'cat', 'dog']
  assert source.metadata['left_out'] == ['train/caf\\xe9/caf\\xe9.jpg']
  json.dumps(source.metadata, ensure_ascii=False).encode()
  table = own_photos.table(
    photos / 'mine.csv',
    'file,label',
    'train/caf\\xe9/caf\\xe9.png,a',
    'train/cat/1.png,a',
  )
  assert sum(own_photos.sizes(table)) == 2


def test_what_a_nas_puts_beside_the_photos_is_left_out(photos, log_messages):
  for name in ('train/cat/@eaDir/0.png/SYNOPHOTO_THUMB_XL.jpg',
               'test/@eaDir/1.jpg', '$RECYCLE.BIN/2.jpg', '__MACOSX/3.jpg',
               '#recycle/4.jpg', 'train/.thumbnails/5.jpg'):  # fmt: skip
    own_photos.save(photos / name)
  (photos / 'lost+found').mkdir(mode=0)
  sources = own_photos.open_sources(photos)
  assert [source.size for source in sources] == [60, 10]
  assert sources[0].class_names == ['cat', 'dog']
  (line,) = (x for x in log_messages.text.splitlines() if 'left out: ' in x)
  assert '2 @eaDir' in line and '$RECYCLE.BIN' in line
  assert sorted(images.find(photos)) == sorted(
    str(path.relative_to(photos)) for path in photos.glob('*/???/*.png')
  )


@pytest.mark.parametrize('place', ['runs/photos_pretrain', '.'])
def test_a_run_among_the_photos_is_no_class(
  photos, log_messages, pretrain_config, place
):
  """From its first second, when it has only a lock, to its end."""
  folder = photos / 'train'
  workdir = workdir_lib.run_path(folder / place)

  def find():
    own_photos.open_sources(folder)
    return listing.find(str(folder), 'train', 'test'), images.find(folder)

  with workdir_lib.lock_workdir(workdir):
    first = find()
    run_metadata.save(pretrain_config, {}, workdir)
    own_photos.save(folder / place / 'figures' / 'curves.png')
    last = find()
  assert last[0].class_names == ['cat', 'dog'] and len(last[1]) == 60
  assert (first[0].splits, first[1]) == (last[0].splits, last[1])
  assert log_messages.text.count('1 run(s)') == 2

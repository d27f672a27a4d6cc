"""Which images a folder or a table holds, and how mistakes are said."""

import contextlib
import os
import re

import numpy as np
import own_photos
import pytest

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data.photos import listing
from selfie_jax.training import evaluation

ROWS = [f'plain/{i}.png,a' for i in range(1000)]


def test_split_and_class_are_folders(photos, log_messages):
  own_photos.save(photos / 'test' / 'bird' / 'sub' / 'deep.JPG')
  own_photos.save(photos / 'train' / 'loose.bmp')
  (photos / 'train' / 'cat' / '.hidden.png').write_bytes(b'')
  (photos / 'train' / 'cat' / 'notes.txt').touch()
  own_photos.save(photos / 'more' / 'cat' / '1.png')
  train_source, test_source = own_photos.open_sources(photos)
  assert train_source.class_names == test_source.class_names
  assert train_source.class_names == ['bird', 'cat', 'dog']
  labels = train_source.labels
  assert labels.dtype == np.int32
  assert labels.tolist() == [1] * 30 + [2] * 30 + [-1]
  assert test_source.labels.tolist() == [0] + [1] * 5 + [2] * 5
  assert (
    f'{photos}: 61 images to train on (60 of them labelled), 11 to test on '
    '(11); 3 classes (bird, cat, dog); left out: 1 .txt' in log_messages.text
  )


def test_any_folder_of_images(tmp_path):
  for i in range(25):
    own_photos.save(tmp_path / 'a' / f'{i}.png', seed=i)
  sources = own_photos.open_sources(tmp_path / 'a')
  assert [source.size for source in sources] == [23, 2]
  assert all((source.labels == -1).all() for source in sources)
  assert sources[0].class_names == []


def test_links_in_a_circle_come_to_an_end_in_any_order(tmp_path, monkeypatch):
  """Of the disk, which lists a folder as it likes."""
  for i in range(25):
    own_photos.save(tmp_path / 'a' / 'x' / 'y' / f'{i}.png', seed=i)
  (tmp_path / 'a' / 'up').symlink_to(tmp_path)
  (tmp_path / 'a' / 'twin').symlink_to('x')
  (tmp_path / 'a' / 'x' / 'again').symlink_to('y')
  real = os.scandir

  @contextlib.contextmanager
  def backwards(folder):
    with real(folder) as entries:
      yield reversed(list(entries))

  for scandir in (real, backwards):
    monkeypatch.setattr(os, 'scandir', scandir)
    found = listing.find(str(tmp_path / 'a'), 'train', 'test')
    files = [entry.file for part in found.splits.values() for entry in part]
    assert sorted(files) == sorted(f'x/y/{i}.png' for i in range(25))


@pytest.mark.parametrize('split_column', [False, True])
def test_table_with_few_labels(photos, split_column):
  lines = [
    f'train/{name}/{i}.png,{name if i < 10 else ""}'
    for name in ('cat', 'dog')
    for i in range(30)
  ]
  lines.append(f' {photos}/test/cat/0.png, "a cat, big"')
  lines.append(f'{photos}/test/cat/1.png,"a cat, big"')
  header, train, test = 'file,label', [36, 1, 9, 9], [4, 1, 1, 1]
  if split_column:
    header, train, test = 'File,label, Split', [40, 2, 10, 10], [1, 0, 0, 1]
    lines = [f'{line},{"train" * (i % 2)}' for i, line in enumerate(lines)]
    lines.append('test/dog/0.png,dog,test')
    lines.append('test/dog/1.png,,test')
    lines.append('test/dog/2.png,fox,other')
  table = own_photos.table(photos / 'mine.CSV', '\ufeff' + header, *lines)
  sources = own_photos.open_sources(table, 'finetune')
  assert sources[1].class_names == ['a cat, big', 'cat', 'dog']
  for source, expected in zip(sources, (train, test), strict=True):
    counts = np.bincount(source.labels + 1, minlength=4)
    assert counts.tolist() == expected


def test_finetuning_sees_labelled_images_only(photos):
  lines = [f'train/cat/{i}.png,{"cat" * (i < 9)},train' for i in range(30)]
  lines += [f'train/dog/{i}.png,{"dog" * (i < 5)},train' for i in range(30)]
  lines += [f'test/dog/{i}.png,{"dog" * (i < 2)},test' for i in range(4)]
  table = own_photos.table(photos / 'mine.csv', 'file,label,split', *lines)
  sources = own_photos.open_sources(table, 'finetune')
  for mode, known in (('finetune', [9, 5]), ('pretrain', [9, 5, 46])):
    config = own_photos.make_config(table, mode, validation_fraction=0.2)
    indices, parts = evaluation.choose_splits(config, *sources)
    used = np.concatenate([indices, parts['validation'][1]])
    assert np.bincount(sources[0].labels[used] % 3).tolist() == known
    test_source, tested = parts['test']
    assert test_source is sources[1]
    if mode == 'finetune':
      assert tested.tolist() == [0, 1]
    else:
      assert tested is None


@pytest.mark.parametrize(
  'files, says',
  [
    (['more/cat/1.png', 'x.png'],
     "neither trained nor tested on: no split (1 images), 'more' (1 images)"),
    (['train/Cat/1.png', 'train/Cat/2.png'],
     "the classes 'Cat' and 'cat' are taken for different ones"),
    (['train/nan/1.png', 'train/-1/1.png'],
     "'-1', 'nan' is taken for a class; leave the label empty where"),
  ],
)  # fmt: skip
def test_what_may_be_a_mistake_is_said(photos, log_messages, files, says):
  own_photos.open_sources(photos)
  assert not [r for r in log_messages.records if r.levelname == 'WARNING']
  for file in files:
    own_photos.save(photos / file)
  own_photos.open_sources(photos)
  assert f'{photos}: {says}' in log_messages.text
  for name in ('train_split', 'test_split'):
    own_photos.open_sources(photos / 'train', **{f'dataset.{name}': 'a'})
    assert f"it has no splits, so dataset.{name}='a' chooses none" in (
      log_messages.text
    )
  rows = [f'train/cat/{i}.png,,test' for i in range(20)]
  table = own_photos.table(photos / 'mine.csv', 'file,label,set', *rows)
  own_photos.open_sources(table)
  assert f'{table}: it has no column split, and set is not used' in (
    log_messages.text
  )


@pytest.mark.parametrize(
  'path, given, says',
  [
    ('nowhere', None, 'neither a folder nor a .csv file'),
    ('heic', ['1.heic', '2.heic'],
     'holds no image (2 .heic); images end in .jpg'),
    ('lonely', ['train/cat/1.png', 'train/cat/2.png'], "only 'cat'"),
    ('val', ['train/1.png', 'val/1.png', 'val/2.png'],
     "'val' (2 images): type --config.dataset.train_split"),
    ('extra', ['train/cat/1.png', 'train/cat/2.png', 'test/dog/1.png'],
     'no training image of the classes dog'),
    ('missing.csv', ['file,label', *(f'{x}.jpg,' for x in 'abcd')],
     '4 files that are not there: a.jpg, b.jpg, '),
    ('twice.csv', ['file,label', 'plain/1.png,', './plain/1.png,x'],
     'lists 1 files twice: plain/1.png'),
    ('links.csv', ['file,label', 'plain/1.png,a', 'linked/1.png,b'],
     'lists 2 files twice: plain/1.png, linked/1.png'),
    ('quote.csv',
     ['file,label', ROWS[1], '"plain/2.png,b', *ROWS, 'plain/3.png,"c"'],
     'cannot be read from line 3 on (a cell has sev'),
    ('end.csv', ['file,label,note', 'plain/1.png,a,"', *ROWS],
     'EOF inside string starting at row 1): is a quo'),
    ('cells.csv', ['file,label', 'plain/1.png,a,test', 'plain/2.png,b'],
     "than its first line, 'file,label': name the column"),
    ('columns.csv', ['file,label, label', 'plain/1.png,a,b'],
     "names the column label twice"),
    ('unlabelled_test.csv',
     ['file,label,split', 'plain/1.png,a,', 'plain/2.png,b,',
      'plain/3.png,,test'],
     'has a label. In a folder, sort the'),
  ],
)  # fmt: skip
def test_mistakes_are_said_with_what_is_valid(tmp_path, path, given, says):
  for i in range(1, 4):
    own_photos.save(tmp_path / 'plain' / f'{i}.png')
  (tmp_path / 'linked').symlink_to('plain')
  if path.endswith('.csv'):
    own_photos.table(tmp_path / path, *given)
  elif given is not None:
    (tmp_path / path).mkdir(exist_ok=True)
    for file in given:
      (tmp_path / path / file).parent.mkdir(parents=True, exist_ok=True)
      (tmp_path / path / file).write_bytes(own_photos.EXACT['rgb.png'])
  is_for_both = path in ('nowhere', 'heic', 'val')
  mode = 'pretrain' if is_for_both else 'finetune'
  with pytest.raises(errors.UserError, match=re.escape(says)):
    config = own_photos.make_config(tmp_path / path, mode)
    evaluation.choose_splits(config, *batches_lib.open_sources(config))


def test_splits_of_a_folder_by_other_names(photos):
  os.rename(photos / 'test', photos / 'val')
  names = {'dataset.train_split': 'val', 'dataset.test_split': 'train'}
  sources = own_photos.open_sources(photos, **names)
  assert [source.size for source in sources] == [10, 60]
  with pytest.raises(errors.UserError, match="valid are 'val', 'train'"):
    batches_lib.open_source(own_photos.make_config(photos, **names), 'test')
  with pytest.raises(errors.UserError, match='are the same'):
    own_photos.open_sources(photos, **{'dataset.test_split': 'train'})
  with pytest.raises(errors.UserError, match='for tfds sets only'):
    own_photos.open_sources(photos, **{'dataset.train_split': 'train[:10%]'})

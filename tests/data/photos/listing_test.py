"""Which images a folder or a table holds, and how mistakes are said."""

import os
import shutil

import numpy as np
import own_photos
import pytest

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data.photos import listing
from selfie_jax.training import evaluation


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
  assert log_messages.text.count('images to train on') == 1


def test_other_split_names(photos):
  os.rename(photos / 'test', photos / 'val')
  names = {'dataset.train_split': 'val', 'dataset.test_split': 'train'}
  train_source, test_source = own_photos.open_sources(photos, **names)
  assert (train_source.size, test_source.size) == (10, 60)


def test_folder_without_test_holds_a_tenth_of_each_class_out(photos, tmp_path):
  shutil.rmtree(photos / 'test')
  train_source, test_source = own_photos.open_sources(photos)
  assert np.bincount(train_source.labels).tolist() == [27, 27]
  assert np.bincount(test_source.labels).tolist() == [3, 3]
  found = listing.find(str(photos), 'train', 'test')
  both = [{e.file for e in part} for part in found.splits.values()]
  assert not both[0] & both[1] and len(both[0] | both[1]) == 60

  shutil.copytree(photos, tmp_path / 'elsewhere')
  again = listing.find(str(tmp_path / 'elsewhere'), 'train', 'test')
  assert again.splits == found.splits


def test_any_folder_of_images(tmp_path):
  for i in range(25):
    own_photos.save(tmp_path / 'a' / f'{i}.png', seed=i)
  sources = own_photos.open_sources(tmp_path / 'a')
  assert [source.size for source in sources] == [23, 2]
  assert all((source.labels == -1).all() for source in sources)
  assert sources[0].class_names == []

  own_photos.save(tmp_path / 'a' / 'x' / 'y' / 'z.webp')
  (tmp_path / 'a' / 'up').symlink_to(tmp_path)
  sources = own_photos.open_sources(tmp_path / 'a')
  assert sum(source.size for source in sources) == 26
  assert sources[0].class_names == ['x']


@pytest.mark.parametrize('split_column', [False, True])
def test_table_with_few_labels(photos, split_column):
  lines = [f'train/{c}/{i}.png,' for c in ('cat', 'dog') for i in range(10, 30)]
  lines += [f'train/{c}/{i}.png,{c}' for c in ('cat', 'dog') for i in range(10)]
  lines.append(f' {photos}/test/cat/0.png, "a cat, big"')
  lines.append(f'{photos}/test/cat/1.png,"a cat, big"')
  header = 'file,label'
  if split_column:
    header += ',split'
    lines[::2] = [f'{line},train' for line in lines[::2]]
    lines[1::2] = [f'{line},' for line in lines[1::2]]
    lines.append('test/dog/0.png,dog,test')
    lines.append('test/dog/1.png,,test')
    lines.append('test/dog/2.png,fox,other')
  table = own_photos.table(photos / 'mine.CSV', '\ufeff' + header, *lines)
  train_source, test_source = own_photos.open_sources(table, 'finetune')
  assert train_source.class_names == ['a cat, big', 'cat', 'dog']
  if split_column:
    assert test_source.labels.tolist() == [2, -1]
    assert np.bincount(train_source.labels + 1).tolist() == [40, 2, 10, 10]
  else:
    assert np.bincount(test_source.labels + 1).tolist() == [4, 1, 1, 1]
    assert np.bincount(train_source.labels + 1).tolist() == [36, 1, 9, 9]


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


def test_a_split_of_a_folder_without_splits_is_said(photos, log_messages):
  train_source, _ = own_photos.open_sources(
    photos / 'train', **{'dataset.train_split': 'anything'}
  )
  assert train_source.size == 54
  assert "it has no splits, so dataset.train_split='anything' chooses none" in (
    log_messages.text
  )


@pytest.mark.parametrize(
  'path, mode, says',
  [
    ('nowhere', 'pretrain', 'neither a folder nor a .csv file'),
    ('empty', 'pretrain', 'holds no image (it is empty)'),
    ('heic', 'pretrain', 'holds no image (2 .heic); images end in .jpg'),
    ('one', 'pretrain', '1 image(s), links not counted, too few'),
    ('lonely', 'finetune', "only 'cat'"),
    ('plain', 'finetune', 'has none'),
    ('val', 'pretrain', "'val' (2 images): type --config.dataset.train_split"),
    ('training', 'pretrain', "of the split 'train'; it has 'training'"),
    ('extra', 'finetune', 'no training image of the classes dog'),
    ('no_label.csv', 'finetune', "no_label.csv is 'file,class'"),
    ('semicolon.csv', 'finetune', "'file;label'; it should be file,label"),
    ('nothing.csv', 'finetune', 'lists no image'),
    ('zero.csv', 'finetune', "is ''; it should be"),
    ('missing.csv', 'finetune', '4 files that are not there: a.jpg, b.jpg, '),
    ('twice.csv', 'finetune', 'lists 1 files twice: plain/1.png'),
    ('binary.csv', 'finetune', 'cannot be read as a table'),
    ('quote.csv', 'finetune', "cannot be read from line 3 on (a cell has sev"),
    ('end.csv', 'finetune', 'EOF inside string starting at row 1): is a quo'),
    ('twins', 'pretrain', 'holds 3 image(s), links not counted, too few'),
    ('splits.csv', 'finetune', "'test'; it has 'dev' (1 images), 'train' (1 "),
    ('unlabelled_test.csv', 'finetune', 'has a label. In a folder, sort the'),
    ('flat', 'finetune', 'or move test/ elsewhere, and a tenth of each class'),
    ('links.csv', 'finetune', 'lists 2 files twice: plain/1.png, linked/1.png'),
  ],
)  # fmt: skip
def test_mistakes_are_one_line_that_says_what_is_valid(
  tmp_path, path, mode, says
):
  (tmp_path / 'empty').mkdir()
  for name in ('heic/a/1.heic', 'heic/a/2.heic'):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  for name in (
    'one/1.png', 'plain/1.png', 'plain/2.png', 'plain/3.png',
    'lonely/train/cat/1.png', 'lonely/train/cat/2.png',
    'val/train/1.png', 'val/val/1.png', 'val/val/2.png',
    'training/training/cat/1.png', 'training/validation/cat/1.png',
    'extra/train/cat/1.png', 'extra/train/cat/2.png', 'extra/test/dog/1.png',
    'flat/train/cat/1.png', 'flat/train/dog/1.png', 'flat/test/1.png',
  ):  # fmt: skip
    own_photos.save(tmp_path / name)
  own_photos.table(tmp_path / 'no_label.csv', 'file,class', 'plain/1.png,cat')
  own_photos.table(tmp_path / 'semicolon.csv', 'file;label', 'plain/1.png;cat')
  own_photos.table(tmp_path / 'nothing.csv', 'file,label')
  (tmp_path / 'zero.csv').touch()
  own_photos.table(
    tmp_path / 'missing.csv', 'file,label', *(f'{x}.jpg,' for x in 'abcd')
  )
  own_photos.table(
    tmp_path / 'twice.csv', 'file,label', 'plain/1.png,', './plain/1.png,x'
  )
  rows = [f'plain/{i}.png,a' for i in range(1000)]
  own_photos.table(
    tmp_path / 'quote.csv',
    'file,label',
    rows[1],
    '"plain/2.png,b',
    *rows,
    'plain/3.png,"c"',
  )
  own_photos.table(
    tmp_path / 'end.csv', 'file,label,note', 'plain/1.png,a,"', *rows
  )
  (tmp_path / 'linked').symlink_to('plain')
  own_photos.table(
    tmp_path / 'links.csv', 'file,label', 'plain/1.png,a', 'linked/1.png,b'
  )
  (tmp_path / 'twins').mkdir()
  for split in ('train', 'test'):
    (tmp_path / 'twins' / split).symlink_to(tmp_path / 'plain')
  (tmp_path / 'binary.csv').write_bytes(own_photos.EXACT['rgb.png'])
  own_photos.table(
    tmp_path / 'splits.csv',
    'file,label,split',
    'plain/1.png,a,',
    'plain/2.png,b,dev',
  )
  own_photos.table(
    tmp_path / 'unlabelled_test.csv', 'file,label,split',
    'plain/1.png,a,', 'plain/2.png,b,', 'plain/3.png,,test',
  )  # fmt: skip
  with pytest.raises(errors.UserError) as caught:
    config = own_photos.make_config(tmp_path / path, mode)
    evaluation.choose_splits(
      config, *own_photos.open_sources(tmp_path / path, mode)
    )
  assert '\n' not in str(caught.value)
  assert says in str(caught.value)


def test_unknown_split_of_a_folder(photos):
  with pytest.raises(errors.UserError, match="valid are 'train', 'test'"):
    batches_lib.open_source(own_photos.make_config(photos), 'val')
  with pytest.raises(errors.UserError, match='for tfds sets only'):
    own_photos.open_sources(photos, **{'dataset.train_split': 'train[:10%]'})

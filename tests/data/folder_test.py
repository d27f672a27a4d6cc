"""Own images: what is found, how it is decoded, how mistakes are said."""

import errno
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
from small_jobs import small_job
import tensorflow as tf

from configs import photos_finetune
from configs import photos_pretrain
from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.data import disk
from selfie_jax.data import input_pipeline
from selfie_jax.data import splits
from selfie_jax.data.photos import folder
from selfie_jax.data.photos import images
from selfie_jax.data.photos import listing
from selfie_jax.storage import saved_job
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.training import evaluation
from selfie_jax.training import train

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOBS = {'pretrain': photos_pretrain, 'finetune': photos_finetune}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def photos(tmp_path):
  """30 cats and 30 dogs to train on, 5 of each to test on."""
  for split, count in (('train', 30), ('test', 5)):
    for label in ('cat', 'dog'):
      for i in range(count):
        _save(tmp_path / 'photos' / split / label / f'{i}.png', seed=i)
  return tmp_path / 'photos'


def _pixels(height=24, width=36, seed=0):
  """Blocks of random colours, which compression leaves recognisable."""
  colours = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
  return colours.repeat(height // 3, 0).repeat(width // 3, 1)


def _save(path, image=None, seed=0, **settings):
  if image is None:
    image = _pixels(seed=seed)
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  path.parent.mkdir(parents=True, exist_ok=True)
  image.save(path, **settings)


def _encode(image, form, **settings):
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  out = io.BytesIO()
  image.save(out, form, **settings)
  return out.getvalue()


def _config(path, mode='pretrain', **fields):
  config = JOBS[mode].get_config('tiny')
  config.dataset.path = str(path)
  config.update_from_flattened_dict(fields)
  return config


def _open(path, mode='pretrain', **fields):
  """Sources of the training and the test split."""
  return input_pipeline.open_sources(_config(path, mode, **fields))


def _images(source):
  (found,) = source.eval_images(iter([np.arange(source.size)]))
  return found


def _table(path, *lines):
  path.write_text('\n'.join(lines) + '\n')
  return path


def _partly_labelled(photos):
  """9 cats and 5 dogs of 60 training images, 2 dogs of 4 test images."""
  known = {('train', 'cat'): 9, ('train', 'dog'): 5, ('test', 'dog'): 2}
  sizes = {('train', 'cat'): 30, ('train', 'dog'): 30, ('test', 'dog'): 4}
  return _table(
    photos / 'mine.csv',
    'file,label,split',
    *(
      f'{split}/{name}/{i}.png,{name if i < known[split, name] else ""},{split}'
      for (split, name), size in sizes.items()
      for i in range(size)
    ),
  )


def test_split_and_class_are_folders(photos, told):
  _save(photos / 'test' / 'bird' / 'sub' / 'deep.JPG')
  _save(photos / 'train' / 'loose.bmp')
  (photos / 'train' / 'cat' / '.hidden.png').write_bytes(b'')
  (photos / 'train' / 'cat' / 'notes.txt').touch()
  _save(photos / 'more' / 'cat' / '1.png')
  train_source, test_source = _open(photos)
  assert train_source.class_names == test_source.class_names
  assert train_source.class_names == ['bird', 'cat', 'dog']
  labels = train_source.labels
  assert labels.dtype == np.int32
  assert labels.tolist() == [1] * 30 + [2] * 30 + [-1]
  assert test_source.labels.tolist() == [0] + [1] * 5 + [2] * 5
  assert (
    f'{photos}: 61 images to train on (60 of them labelled), 11 to test on '
    '(11); 3 classes (bird, cat, dog); other files, left out: 1 .txt'
    in told.text
  )
  assert told.text.count('images to train on') == 1


def test_other_split_names(photos):
  os.rename(photos / 'test', photos / 'val')
  names = {'dataset.train_split': 'val', 'dataset.test_split': 'train'}
  train_source, test_source = _open(photos, **names)
  assert (train_source.size, test_source.size) == (10, 60)


def test_folder_without_test_holds_a_tenth_of_each_class_out(photos, tmp_path):
  shutil.rmtree(photos / 'test')
  train_source, test_source = _open(photos)
  assert np.bincount(train_source.labels).tolist() == [27, 27]
  assert np.bincount(test_source.labels).tolist() == [3, 3]
  found = listing.find(str(photos), 'train', 'test')
  both = [{e.file for e in part} for part in found.parts.values()]
  assert not both[0] & both[1] and len(both[0] | both[1]) == 60

  shutil.copytree(photos, tmp_path / 'elsewhere')
  again = listing.find(str(tmp_path / 'elsewhere'), 'train', 'test')
  assert again.parts == found.parts


def test_any_folder_of_images(tmp_path):
  for i in range(25):
    _save(tmp_path / 'a' / f'{i}.png', seed=i)
  sources = _open(tmp_path / 'a')
  assert [source.size for source in sources] == [23, 2]
  assert all((source.labels == -1).all() for source in sources)
  assert sources[0].class_names == []

  _save(tmp_path / 'a' / 'x' / 'y' / 'z.webp')
  (tmp_path / 'a' / 'up').symlink_to(tmp_path)
  sources = _open(tmp_path / 'a')
  assert sum(source.size for source in sources) == 26
  assert sources[0].class_names == ['x']


@pytest.mark.parametrize('crop', ['pad', 'random_resized'])
def test_order_is_that_of_the_paths_and_pixels_are_those_of_pillow(
  tmp_path, crop
):
  for i in range(22):
    _save(tmp_path / 'photos' / f'{i}.png', _pixels(24, 24, seed=i))
  fields = {'image_size': 24 if crop == 'pad' else 21, 'augment.crop': crop}
  found = listing.find(str(tmp_path / 'photos'), 'train', 'test')
  for source, part in zip(
    _open(tmp_path / 'photos', **fields), found.parts.values(), strict=True
  ):
    files = [entry.file for entry in part]
    assert files == sorted(files)
    pixels = np.stack(
      [np.asarray(Image.open(tmp_path / 'photos' / file)) for file in files]
    )
    if crop == 'random_resized':  # evaluated on the central 87.5 %
      pixels = pixels[:, 1:22, 1:22]
    np.testing.assert_array_equal(_images(source), pixels)


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
  table = _table(photos / 'mine.CSV', '\ufeff' + header, *lines)
  train_source, test_source = _open(table, 'finetune')
  assert train_source.class_names == ['a cat, big', 'cat', 'dog']
  if split_column:
    assert test_source.labels.tolist() == [2, -1]
    assert np.bincount(train_source.labels + 1).tolist() == [40, 2, 10, 10]
  else:
    assert np.bincount(test_source.labels + 1).tolist() == [4, 1, 1, 1]
    assert np.bincount(train_source.labels + 1).tolist() == [36, 1, 9, 9]


def test_finetuning_sees_labelled_images_only(photos):
  table = _partly_labelled(photos)
  for validation in (0.0, 0.2):
    config = _config(table, 'finetune', validation_fraction=validation)
    sources = _open(table, 'finetune')
    indices, parts = evaluation.choose_parts(config, *sources)
    if validation:
      indices = np.concatenate([indices, parts['validation'][1]])
    assert np.bincount(sources[0].labels[indices]).tolist() == [9, 5]
    test_source, chosen = parts['test']
    assert test_source.labels[chosen].tolist() == [1, 1]

  config = _config(table, validation_fraction=0.2)
  indices, parts = evaluation.choose_parts(config, *sources)
  assert len(indices) + len(parts['validation'][1]) == 60
  assert (sources[0].labels[indices] == -1).any()
  assert parts['test'] == (sources[1], None)


def test_label_subsets_leave_the_unlabelled_out(photos):
  _save(photos / 'train' / 'loose.png')
  labels = _open(photos)[0].labels
  indices, _ = splits.split(labels, 0.5, 0.0, seed=0)
  assert np.bincount(labels[indices]).tolist() == [15, 15]


def _transparent():
  image = Image.fromarray(_pixels()).convert('RGBA')
  image.putalpha(Image.fromarray(_pixels(seed=1)[..., 0]))
  return image


RGB = Image.fromarray(_pixels())
EXACT = {
  'rgb.png': _encode(RGB, 'PNG'),
  'grey.png': _encode(RGB.convert('L'), 'PNG'),
  'palette.png': _encode(RGB.convert('P'), 'PNG'),
  'transparent.png': _encode(_transparent(), 'PNG'),
  'black_and_white.png': _encode(RGB.convert('1'), 'PNG'),
  'black.bmp': _encode(Image.new('RGB', (36, 24)), 'BMP'),
  'rgb.webp': _encode(RGB, 'WEBP', lossless=True),
  'lossy.webp': _encode(RGB, 'WEBP'),
  'rgb.bmp': _encode(RGB, 'BMP'),
  'palette.bmp': _encode(RGB.convert('P'), 'BMP'),
  'rgb.tiff': _encode(RGB, 'TIFF', compression='tiff_lzw'),
  'cmyk.tiff': _encode(RGB.convert('CMYK'), 'TIFF'),
  'rgb.avif': _encode(RGB, 'AVIF'),
  'rgb.gif': _encode(RGB, 'GIF'),
  'animated.gif': _encode(
    RGB, 'GIF', save_all=True, append_images=[RGB.rotate(180)]
  ),
  'animated.webp': _encode(
    RGB, 'WEBP', save_all=True, append_images=[RGB.rotate(180)], lossless=True
  ),
  '1x1.png': _encode(np.full((1, 1, 3), 7, np.uint8), 'PNG'),
  'wide.png': _encode(np.full((2, 20_000, 3), 9, np.uint8), 'PNG'),
  'wide.webp': _encode(np.full((2, 16_000, 3), 9, np.uint8), 'WEBP'),
}  # fmt: skip


def _decode(content):
  encoded = images.plain(content)
  return tf.io.decode_image(encoded, 3, expand_animations=False).numpy()


@pytest.mark.parametrize('name', EXACT)
def test_pixels_are_those_of_pillow(name):
  with Image.open(io.BytesIO(EXACT[name])) as image:
    expected = np.asarray(image.convert('RGB'))
  np.testing.assert_array_equal(_decode(EXACT[name]), expected)


@pytest.mark.parametrize('mode', ['RGB', 'CMYK', 'L'])
@pytest.mark.parametrize('progressive', [False, True])
def test_jpegs_have_the_colours_of_pillow(mode, progressive):
  content = _encode(
    RGB.convert(mode), 'JPEG', quality=95, progressive=progressive
  )
  with Image.open(io.BytesIO(content)) as image:
    expected = np.asarray(image.convert('RGB')).astype(int)
  assert np.abs(_decode(content) - expected).mean() < 2


def test_the_first_picture_of_a_camera_that_saves_two_is_taken():
  both = _encode(
    RGB, 'MPO', save_all=True, append_images=[RGB.rotate(180)], quality=95
  )
  assert np.abs(_decode(both).astype(int) - _pixels()).mean() < 8


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_16_bits_keep_the_upper_8(form):
  grey = _pixels()[..., 0]
  deep = _encode(grey.astype(np.uint16) * 257, form)
  np.testing.assert_array_equal(
    _decode(deep), np.repeat(grey[..., None], 3, axis=2)
  )


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(9))
def test_pictures_stand_upright(form, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  settings = {'quality': 95, 'exif': exif}
  turned = _decode(_encode(RGB, form, **settings)).astype(int)
  turn = {
    3: lambda x: x[::-1, ::-1],
    2: lambda x: x[:, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
  }.get(orientation, lambda x: x)
  expected = turn(_pixels())
  assert turned.shape == expected.shape
  assert np.abs(turned - expected).mean() < 8


def test_plain_files_pass_untouched_and_damaged_exif_does_no_harm():
  for content in (
    EXACT['rgb.png'],
    _encode(RGB, 'JPEG', exif=b'Exif\0\0nonsense'),
  ):
    assert images.plain(content) is content


def _bad_files(path):
  _save(path / 'good.jpg')
  jpeg, png = (path / 'good.jpg').read_bytes(), EXACT['rgb.png']
  bad = {
    'empty.jpg': b'',
    'text.jpg': b'This is no image.',
    'truncated.jpg': jpeg[: len(jpeg) // 2],
    'truncated.png': png[:-40],
    'truncated.webp': EXACT['rgb.webp'][:40],
    'truncated.tiff': EXACT['cmyk.tiff'][:200],
    'bomb.gif': b'GIF89a' + b'\xff\xff\xff\xff' + b'\0' * 20,
  }  # fmt: skip
  for name, content in bad.items():
    (path / name).write_bytes(content)
  return sorted(bad)


CROPS = pytest.mark.parametrize('crop', ['pad', 'random_resized'])


@CROPS
def test_damaged_images_are_left_out_and_named(photos, told, crop):
  bad = _bad_files(photos / 'train' / 'cat')
  fields = {'augment.crop': crop, 'dataset.max_unreadable': 0.2}
  train_source, _ = _open(photos, **fields)
  assert train_source.size == 61
  assert train_source.labels.tolist() == [0] * 31 + [1] * 30
  found = _images(train_source)
  clean = photos.parent / 'clean'
  shutil.copytree(photos, clean)
  for name in bad:
    (clean / 'train' / 'cat' / name).unlink()
  np.testing.assert_array_equal(found, _images(_open(clean, **fields)[0]))
  said = f'7 of the 68 images of {photos} train cannot be decoded: '
  (line,) = (x for x in told.text.splitlines() if said in x)
  for name in bad[:3]:
    assert f'train/cat/{name} (' in line
  assert 'empty.jpg (empty)' in line
  assert 'text.jpg (no image of a known format)' in line
  assert '{{' not in line and '...' in line

  facts = train_source.facts
  assert facts['left_out'] == [f'train/cat/{name}' for name in bad]
  assert facts['images'] == 68


@CROPS
def test_a_truncated_jpeg_is_said_in_words_and_once(photos, told, crop, capfd):
  _save(photos / 'train' / 'cat' / 'x.jpg', _pixels(240, 360), quality=95)
  path = photos / 'train' / 'cat' / 'x.jpg'
  content = path.read_bytes()
  fields = {'augment.crop': crop, 'dataset.max_unreadable': 0.02}
  for end in range(100, len(content), len(content) // 7):
    path.write_bytes(content[:end])
    told.clear()
    assert _open(photos, **fields)[0].size == 60
    assert 'train/cat/x.jpg (' in told.text
    assert 'truncated' in told.text.lower() or 'no image' in told.text
  assert capfd.readouterr().err == ''


@CROPS
def test_damage_in_both_splits_is_found_at_once_with_one_advice(photos, crop):
  """The share that is advised is enough for both, rounded up."""
  for name in ('train/cat/1.png', 'test/cat/1.png', 'test/dog/1.png'):
    (photos / name).write_bytes(b'')
  _save(photos / 'test' / 'cat' / 'one.png')
  fields = {'augment.crop': crop}
  with pytest.raises(errors.UserError) as caught:
    _open(photos, **fields)
  said = str(caught.value)
  assert '1 of the 60 images' in said and 'train/cat/1.png (empty)' in said
  assert '2 of the 11 images' in said and 'test/dog/1.png (empty)' in said
  assert '--config.dataset.max_unreadable=0.182 or more' in said
  fields['dataset.max_unreadable'] = 0.182
  assert [source.size for source in _open(photos, **fields)] == [59, 9]


def test_damage_is_looked_for_once_and_again_after_a_change(
  photos, monkeypatch
):
  fields = {'augment.crop': 'random_resized', 'dataset.max_unreadable': 0.2}
  bad = photos / 'train' / 'cat' / '3.png'
  bad.write_bytes(b'')
  assert _open(photos, **fields)[0].size == 59
  with monkeypatch.context() as patch:
    patch.setattr(folder.Folder, 'in_order', None)
    assert _open(photos, **fields)[0].size == 59
  bad.write_bytes(EXACT['rgb.png'])
  assert _open(photos, **fields)[0].size == 60


@pytest.fixture
def hiccup(photos, monkeypatch):
  """(how often, path) -> reading it fails so often with EIO."""
  left, real = {}, open

  def fail(path, *arguments, **keywords):
    if left.get(str(path)):
      left[str(path)] -= 1
      raise OSError(errno.EIO, 'Input/output error')
    return real(path, *arguments, **keywords)

  monkeypatch.setattr('builtins.open', fail)
  monkeypatch.setattr(disk, 'PAUSES', (0, 0))
  return lambda times, path: left.update({str(path): times})


@CROPS
def test_a_hiccup_of_the_disk_does_not_shrink_the_set(photos, hiccup, crop):
  path = photos / 'train' / 'cat' / '3.png'
  fields = {'augment.crop': crop, 'dataset.max_unreadable': 0.5}
  hiccup(2, path)
  assert _open(photos, **fields)[0].size == 60

  os.utime(path, (1, 1))  # to be looked at again
  hiccup(99, path)
  with pytest.raises(errors.UserError) as caught:
    _open(photos, **fields)
  said = str(caught.value)
  assert said.startswith(f'{path} cannot be read (Input/output error). This is')
  assert 'error of the disk or the network and not of the data' in said
  hiccup(0, path)
  assert _open(photos, **fields)[0].size == 60


def test_a_hiccup_while_training_changes_no_batch(photos, hiccup):
  config = _config(photos, **{'augment.crop': 'random_resized'})
  source, _ = input_pipeline.open_sources(config)
  path = photos / 'train' / 'cat' / '3.png'

  def shown():
    batches = input_pipeline.train_batches(source, None, config, 0)
    return np.stack([batch['image'] for batch in batches])

  expected = shown()
  hiccup(2, path)
  np.testing.assert_array_equal(shown(), expected)
  hiccup(99, path)
  with pytest.raises(errors.UserError, match='error of the disk'):
    shown()


def test_a_link_to_nothing_is_no_damaged_image(photos, monkeypatch):
  monkeypatch.setattr(disk, 'PAUSES', ())
  (photos / 'train' / 'cat' / 'x.jpg').symlink_to(photos / 'nothing')
  with pytest.raises(errors.UserError, match='x.jpg is not there .* link to'):
    _open(photos, **{'dataset.max_unreadable': 0.5})


def test_one_process_looks_and_all_leave_out_what_it_says(photos):
  """Two processes, of which the second reads one image better or worse."""
  bad = photos / 'train' / 'cat' / '3.png'
  content = bad.read_bytes()

  def second(crop, told):
    config = _config(photos, **{'augment.crop': crop})
    config.dataset.max_unreadable = 0.5
    answers = iter(told)
    return input_pipeline.open_sources(config, lambda make: next(answers))

  for crop in ('pad', 'random_resized'):
    bad.write_bytes(b'')
    told = []

    def primary(make, told=told):
      told.append(make())
      return told[-1]

    config = _config(photos, **{'augment.crop': crop})
    config.dataset.max_unreadable = 0.5
    first = input_pipeline.open_sources(config, primary)
    bad.write_bytes(content)
    both = first[0], second(crop, told)[0]
    assert [source.size for source in both] == [59, 59]
    assert both[0].facts == both[1].facts
    np.testing.assert_array_equal(*map(_images, both))
    np.testing.assert_array_equal(*(source.labels for source in both))
  bad.write_bytes(b'')
  with pytest.raises(errors.UserError, match='3.png can be decoded by the fi'):
    second('pad', [np.empty(0, np.int64)] * 2)


@pytest.mark.parametrize('crop', ['pad', 'random_resized', 'none'])
@pytest.mark.parametrize('gib', [0.0, 1.0])
def test_every_kind_of_file_can_be_trained_on(photos, crop, gib):
  for i, (name, content) in enumerate(EXACT.items()):
    label = ('cat', 'dog')[i % 2]
    (photos / 'train' / label / name).write_bytes(content)
  config = _config(photos, **{'augment.crop': crop, 'dataset.cache_gib': gib})
  source = input_pipeline.open_source(config, 'train')
  assert source.in_memory == (crop != 'random_resized' and gib > 0)
  batches = list(input_pipeline.train_batches(source, None, config, 8))
  assert [batch['image'].shape for batch in batches] == [(32, 32, 32, 3)] * 4
  assert all(batch['image'].std() > 20 for batch in batches)


def test_a_file_that_goes_away_is_said_in_one_line(photos, monkeypatch):
  monkeypatch.setattr(disk, 'PAUSES', ())
  config = _config(photos, **{'augment.crop': 'random_resized'})
  source, _ = input_pipeline.open_sources(config)
  shutil.rmtree(photos)
  with pytest.raises(errors.UserError, match='png is not there'):
    list(input_pipeline.train_batches(source, None, config, 0))


def test_a_file_that_is_damaged_later_is_named(photos):
  config = _config(photos, **{'augment.crop': 'random_resized'})
  source, _ = input_pipeline.open_sources(config)
  (photos / 'train' / 'dog' / '4.png').write_bytes(EXACT['rgb.png'][:-40])
  with pytest.raises(errors.UserError, match=r'train/dog/4.png \(.*truncated'):
    list(input_pipeline.train_batches(source, None, config, 0))


def test_links_show_no_photo_twice(photos, told):
  """Neither in training and test, nor again in a class."""
  (photos / 'test' / 'cat' / 'train').symlink_to(photos / 'train' / 'cat')
  (photos / 'train' / 'dog' / 'test').symlink_to(photos / 'test' / 'dog')
  (photos / 'train' / 'dog' / 'again.png').symlink_to('0.png')
  sources = _open(photos)
  assert [source.size for source in sources] == [60, 10]
  assert f'{photos}: 36 images are there twice, by links' in told.text
  farm = photos.parent / 'farm'
  for name in ('train', 'test'):
    farm.mkdir(exist_ok=True)
    (farm / name).symlink_to(photos / name)
  assert [source.size for source in _open(farm)] == [60, 10]


@pytest.mark.parametrize(
  'files, says',
  [
    (['more/cat/1.png', 'x.png'],
     "neither trained nor tested on: no split (1 images), 'more' (1 images)"),
    (['train/Cat/1.png', 'train/Cat/2.png'],
     "the classes 'Cat' and 'cat' are taken for different ones"),
    (['train/eel/1.png'], "1 classes have a single image: 'eel'"),
  ],
)  # fmt: skip
def test_what_may_be_a_mistake_is_said(photos, told, files, says):
  _open(photos)
  assert not [r for r in told.records if r.levelname == 'WARNING']
  for file in files:
    _save(photos / file)
  _open(photos)
  assert f'{photos}: {says}' in told.text


def test_a_split_of_a_folder_without_splits_is_said(photos, told):
  train_source, _ = _open(
    photos / 'train', **{'dataset.train_split': 'anything'}
  )
  assert train_source.size == 54
  assert "it has no splits, so dataset.train_split='anything' chooses none" in (
    told.text
  )


def test_the_shrinking_of_the_documents_leaves_bad_photos_out(tmp_path):
  text = (ROOT / 'docs' / 'own_images.md').read_text()
  code = re.search(r"python - photos small <<'EOF'\n(.*?)\nEOF", text, re.S)[1]
  _save(tmp_path / 'photos' / 'a' / '1.JPEG', _pixels(900, 600))
  _save(tmp_path / 'photos' / 'a' / '2.png')
  _bad_files(tmp_path / 'photos' / 'b')
  (tmp_path / 'photos' / 'b' / '._2.png').write_bytes(b'of macOS')
  done = subprocess.run(
    [sys.executable, '-c', code, 'photos', 'small'],
    cwd=tmp_path,
    text=True,
    capture_output=True,
    check=True,
  )
  made = sorted((tmp_path / 'small').rglob('*.*'))
  assert [str(path.relative_to(tmp_path / 'small')) for path in made] == [
    'a/1.JPEG',
    'a/2.png',
    'b/good.jpg',
  ]
  with Image.open(made[0]) as image:
    assert image.size == (341, 512)
  assert done.stdout.count('left out: photos/b/') == 4


def test_progress_is_said_while_files_are_read(photos, told, monkeypatch):
  monkeypatch.setattr(disk, 'SAY_EVERY', 0)
  table = _partly_labelled(photos)
  _open(table, **{'augment.crop': 'random_resized'})
  for line in (
    f'Looking for the files of {table}: 64 of 64 files',
    f'Decoding {table} train: 60 of 60 images',
  ):
    assert line in told.text


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
    ('quote.csv', 'finetune', "cannot be read from line 3 on (',' expected"),
    ('end.csv', 'finetune', 'line 2 on (unexpected end of data): is a quo'),
    ('twins', 'pretrain', 'holds 3 image(s), links not counted, too few'),
    ('splits.csv', 'finetune', "'test'; it has 'dev' (1 images), 'train' (1 "),
    ('unlabelled_test.csv', 'finetune', 'No test image has a label'),
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
  ):  # fmt: skip
    _save(tmp_path / name)
  _table(tmp_path / 'no_label.csv', 'file,class', 'plain/1.png,cat')
  _table(tmp_path / 'semicolon.csv', 'file;label', 'plain/1.png;cat')
  _table(tmp_path / 'nothing.csv', 'file,label')
  (tmp_path / 'zero.csv').touch()
  _table(
    tmp_path / 'missing.csv', 'file,label', 'a.jpg,', 'b.jpg,', 'c.jpg,', ','
  )
  _table(
    tmp_path / 'twice.csv', 'file,label', 'plain/1.png,', './plain/1.png,x'
  )
  rows = [f'plain/{i}.png,a' for i in range(1000)]
  _table(tmp_path / 'quote.csv', 'file,label', rows[1], '"plain/2.png,b', *rows,
         'plain/3.png,"c"')  # fmt: skip
  _table(tmp_path / 'end.csv', 'file,label,note', 'plain/1.png,a,"', *rows)
  (tmp_path / 'twins').mkdir()
  for split in ('train', 'test'):
    (tmp_path / 'twins' / split).symlink_to(tmp_path / 'plain')
  (tmp_path / 'binary.csv').write_bytes(EXACT['rgb.png'])
  _table(
    tmp_path / 'splits.csv',
    'file,label,split',
    'plain/1.png,a,',
    'plain/2.png,b,dev',
  )
  _table(
    tmp_path / 'unlabelled_test.csv', 'file,label,split',
    'plain/1.png,a,', 'plain/2.png,b,', 'plain/3.png,,test',
  )  # fmt: skip
  with pytest.raises(errors.UserError) as caught:
    config = _config(tmp_path / path, mode)
    evaluation.choose_parts(config, *_open(tmp_path / path, mode))
  assert '\n' not in str(caught.value)
  assert says in str(caught.value)


def test_unknown_split_of_a_folder(photos):
  with pytest.raises(errors.UserError, match="valid are 'train', 'test'"):
    input_pipeline.open_source(_config(photos), 'val')
  with pytest.raises(errors.UserError, match='for tfds sets only'):
    _open(photos, **{'dataset.train_split': 'train[:10%]'})


def test_pretrain_then_finetune(photos, tmp_path):
  files = sorted(path.relative_to(photos) for path in photos.rglob('*.png'))
  table = _table(
    photos / 'mine.csv',
    'file,label,split',
    *(f'{file},{i % 10},{file.parts[0]}' for i, file in enumerate(files[:40])),
    *(f'{file},,{file.parts[0]}' for file in files[40:]),
  )
  # The small jobs' network and length, whose programs are compiled once.
  job = config_lib.flatten(small_job('pretrain'))
  fields = (
    'total_steps',
    'log_every',
    'eval_every',
    'checkpoint_every',
    'optimizer.warmup_steps',
    'model.positions',
  )
  same = {field: job[field] for field in fields}
  config = _config(table, **same, **{'model.logit_scale': 'none'})
  pretrained = train.train_and_evaluate(config, tmp_path / 'pretrained')
  assert 0 <= pretrained['metrics']['patch_accuracy'] <= 1
  assert pretrained['metrics']['chance'] == 0.25

  same['init_from'] = str(tmp_path / 'pretrained')
  config = _config(table, 'finetune', **same)
  run = tmp_path / 'finetuned'
  results = train.train_and_evaluate(config, run)
  assert round(results['metrics']['test_accuracy'] * 10, 6) % 1 == 0
  data = json.loads((run / 'data.json').read_text())
  assert data['train']['images'] == 60
  assert data['test']['classes'] == [str(i) for i in range(10)]

  (run / 'results.json').unlink()
  lines = table.read_text().splitlines()
  _table(table, *lines[:1], *lines[2:])
  with pytest.raises(errors.UserError, match=r'images \(10 -> 9\)'):
    train.train_and_evaluate(config, run)


def test_images_are_known_again_where_they_were_moved(photos, tmp_path):
  workdir = workdir_lib.run_path(tmp_path)
  facts = {'train': _open(photos)[0].facts}
  saved_job.save_data(facts, workdir)
  moved = tmp_path / 'moved'
  os.rename(photos, moved)
  saved_job.check_data({'train': _open(moved)[0].facts}, workdir)

  def refused():
    with pytest.raises(errors.UserError, match='other data') as caught:
      source, _ = _open(moved, **{'dataset.max_unreadable': 0.1})
      saved_job.check_data({'train': source.facts}, workdir)
    return str(caught.value)

  cat = moved / 'train' / 'cat'
  content = (cat / '3.png').read_bytes()
  (cat / '3.png').write_bytes(b'')
  assert "train left_out ([] -> ['train/cat/3.png'])" in refused()
  (cat / '3.png').write_bytes(content)
  os.rename(cat / '3.png', cat / '33.png')
  assert 'train files (' in refused() and 'train images' not in refused()
  os.rename(cat, moved / 'train' / 'fox')
  assert "'cat'" in refused() and "'fox'" in refused()
  (workdir / 'data.json').write_text('{')
  with pytest.raises(errors.UserError, match='damaged'):
    saved_job.check_data(facts, workdir)

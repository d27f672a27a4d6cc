"""Own images become batches and runs."""

import json
import os
from unittest import mock

import numpy as np
import own_photos
from PIL import Image
import pytest

from selfie_jax import errors
from selfie_jax.data import decoding
from selfie_jax.data.photos import listing
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


@pytest.mark.parametrize('crop', ['pad', 'random_resized'])
def test_order_is_of_the_paths_and_pixels_are_of_pillow(tmp_path, crop):
  for i in range(22):
    own_photos.save(
      tmp_path / 'photos' / f'{i}.png', own_photos.pixels(24, 24, seed=i)
    )
  fields = {'image_size': 24 if crop == 'pad' else 21, 'augment.crop': crop}
  found = listing.find(str(tmp_path / 'photos'), 'train', 'test')
  for source, part in zip(
    own_photos.open_sources(tmp_path / 'photos', **fields),
    found.splits.values(),
    strict=True,
  ):
    files = [entry.file for entry in part]
    assert files == sorted(files)
    pixels = np.stack(
      [np.asarray(Image.open(tmp_path / 'photos' / file)) for file in files]
    )
    if crop == 'random_resized':  # evaluated on the central 87.5 %
      pixels = pixels[:, 1:22, 1:22]
    np.testing.assert_array_equal(own_photos.decoded(source), pixels)


def test_images_are_known_after_they_moved(photos, tmp_path, pretrain_config):
  workdir = workdir_lib.run_path(tmp_path)
  metadata = {'train': own_photos.open_sources(photos)[0].metadata}
  run_metadata.save(pretrain_config, metadata, workdir)
  moved = tmp_path / 'moved'
  os.rename(photos, moved)

  def check():
    source, _ = own_photos.open_sources(
      moved, **{'dataset.max_unreadable': 0.1}
    )
    run_metadata.check_data({'train': source.metadata}, workdir)

  def refused():
    with pytest.raises(errors.UserError, match='other data') as caught:
      check()
    return str(caught.value)

  check()
  photo = moved / 'train' / 'cat' / '3.png'
  content = photo.read_bytes()
  photo.write_bytes(b'')
  assert "train left_out ([] -> ['train/cat/3.png'])" in refused()
  photo.write_bytes(content + b' ')
  assert 'train sizes (' in refused() and 'train files' not in refused()
  # A run of a version that knew the names only goes on.
  saved = (workdir / 'data.json').read_text()
  old = json.loads(saved)
  del old['train']['sizes']
  (workdir / 'data.json').write_text(json.dumps(old))
  check()
  (workdir / 'data.json').write_text(saved)
  photo.write_bytes(content)
  os.rename(photo, photo.with_name('33.png'))
  assert 'train files (' in refused() and 'train images' not in refused()
  os.rename(photo.parent, moved / 'train' / 'fox')
  assert "'cat'" in refused() and "'fox'" in refused()


def test_small_sets_are_decoded_once(photos, monkeypatch):
  """Until a file, its label or the size of the images is another."""
  decode = mock.Mock(wraps=decoding._decode_all)
  monkeypatch.setattr(decoding, '_decode_all', decode)
  files = [path.relative_to(photos) for path in sorted(photos.rglob('*.png'))]
  lines = [f'{path},{path.parts[1]},{path.parts[0]}' for path in files]
  path = own_photos.table(photos / 'mine.csv', 'file,label,split', *lines)

  def look(splits, **fields):
    """Images and labels, after so many splits were decoded."""
    decode.reset_mock()
    source, _ = own_photos.open_sources(path, **fields)
    found = own_photos.decoded(source), source.labels.copy()
    assert decode.call_count == splits
    return found

  first, labels = look(2)
  np.testing.assert_equal(look(0), (first, labels))
  look(2, **{'image_size': 16, 'patch_size': 4})
  own_photos.save(photos / 'train' / 'cat' / '0.png', seed=77)
  changed, _ = look(1)
  assert (first != changed).any(axis=(1, 2, 3)).sum() == 1
  text = path.read_text()
  path.write_text(text.replace('train/dog/0.png,dog', 'train/dog/0.png,cat'))
  assert (look(1)[1] != labels).sum() == 1


def test_a_file_of_the_same_size_and_time_is_read_again(photos):
  """As archives write them, with one time for all files."""
  path = photos / 'train' / 'cat' / '0.bmp'
  found = []
  for seed in range(2):
    own_photos.save(path, seed=seed)
    os.utime(path, (1, 1))
    source, _ = own_photos.open_sources(photos)
    found.append((source.metadata, own_photos.decoded(source)))
  assert found[0][0] == found[1][0]  # all that data.json compares
  assert (found[0][1] != found[1][1]).any(axis=(1, 2, 3)).sum() == 1


def test_both_splits_share_the_memory(photos):
  gib = 32 * 32 * 3 / 2**30
  for images, in_memory in (
    (70, [True, True]), (69, [True, False]), (59, [False, True])
  ):  # fmt: skip
    fields = {'dataset.cache_gib': images * gib}
    sources = own_photos.open_sources(photos, **fields)
    assert [source.in_memory for source in sources] == in_memory

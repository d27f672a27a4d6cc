"""Folders of own images."""

import errno

import own_photos
import pytest

from selfie_jax.data import retry


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def photos(tmp_path):
  """30 cats and 30 dogs to train on, 5 of each to test on."""
  for split, count in (('train', 30), ('test', 5)):
    for label in ('cat', 'dog'):
      for i in range(count):
        own_photos.save(
          tmp_path / 'photos' / split / label / f'{i}.png', seed=i
        )
  return tmp_path / 'photos'


@pytest.fixture(params=['pad', 'random_resized'])
def open_photos(request, photos):
  """(**fields) -> the sources of both splits, in memory and not."""
  crop = {'augment.crop': request.param}
  return lambda **fields: own_photos.open_sources(photos, **crop, **fields)


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
  monkeypatch.setattr(retry, 'PAUSES', (0, 0))
  return lambda times, path: left.update({str(path): times})

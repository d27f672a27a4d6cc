"""A run with two checkpoints."""

import shutil

import pytest
import small_states

from selfie_jax.storage import workdir as workdir_lib


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  return small_states.saved(tmp_path_factory.mktemp('run'))


@pytest.fixture
def run(original, tmp_path):
  shutil.copytree(original, tmp_path / 'run')
  return tmp_path / 'run'


@pytest.fixture
def no_pauses(monkeypatch):
  monkeypatch.setattr(workdir_lib, 'PAUSES', (0.0, 0.0))

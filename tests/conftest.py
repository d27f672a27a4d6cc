"""Two virtual devices for every test, and small jobs to run on them."""

import os
import pathlib
import sys

import xla_flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = xla_flags.TWO_DEVICES
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.jax_cache'))
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'

import contextlib
import functools
import logging

with contextlib.suppress(ImportError):
  # PyTorch brings it; loaded after TensorFlow, its LLVM aborts the process.
  import triton  # noqa: F401
import numpy as np
from PIL import Image
import pytest
import small_jobs

from configs import digits_finetune
from configs import digits_pretrain
from selfie_jax import errors


@pytest.fixture(autouse=True)
def messages_are_one_line(monkeypatch):
  """Whatever a test provokes."""

  def make(error, message=''):
    assert '\n' not in message, message
    Exception.__init__(error, message)

  monkeypatch.setattr(errors.UserError, '__init__', make)


@pytest.fixture
def pretrain_config():
  return digits_pretrain.get_config('tiny')


@pytest.fixture
def finetune_config():
  return digits_finetune.get_config('tiny')


@pytest.fixture(scope='session')
def finished(tmp_path_factory):
  """mode -> the folder of its small job, run once and read by many tests."""
  from selfie_jax.training import train

  @functools.cache
  def run(mode):
    folder = tmp_path_factory.mktemp(mode)
    train.train_and_evaluate(small_jobs.small_job(mode), folder)
    return folder

  return run


@pytest.fixture
def log_messages(caplog, monkeypatch):
  """The messages of our own loggers, as pytest's caplog has them."""
  monkeypatch.setattr(logging.getLogger('selfie_jax'), 'propagate', True)
  caplog.set_level(logging.INFO)
  return caplog


@pytest.fixture
def image_folder(tmp_path):
  """Eleven images of six kinds in two folders, and what is none."""
  rng = np.random.default_rng(0)
  folder = tmp_path / 'images'
  suffixes = ['jpg', 'PNG', 'gif', 'bmp', 'webp', 'jpeg']
  for i in range(11):
    name = f'{("cat/young", "dog")[i % 2]}/{i:02}.{suffixes[i % 6]}'
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (20 + i, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / name)
  (folder / 'dog' / 'broken.png').write_bytes(b'no image')
  (folder / 'dog' / 'notes.txt').write_text('no image')
  (folder / 'dog' / 'loop').symlink_to(folder)
  (folder / 'dog' / 'young').symlink_to(folder / 'cat' / 'young')
  (folder / 'dog' / '._01.png').write_bytes(b'of macOS')
  (folder / '.trash').mkdir()
  (folder / '.trash' / '00.png').write_bytes(b'')
  return folder


@pytest.fixture
def batch():
  """16 random examples as the pipeline gives them."""
  rng = np.random.default_rng(0)
  return {
    'image': rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8),
    'label': rng.integers(0, 10, 16).astype(np.int32),
    'index': np.arange(16, dtype=np.int32),
    'mask': np.ones(16, np.float32),
  }

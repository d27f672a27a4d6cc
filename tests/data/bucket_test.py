"""A bucket gives the batches of the disk, in few requests, many at once.

The bucket is served on this machine (benchmarks/bucket.py), and the libraries'
own clients ask it. Requests are counted, not timed.
"""

import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from benchmarks import bucket as bucket_lib
from configs import digits_pretrain
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import reading
from selfie_jax.data import retry
from selfie_jax.data import shuffle

TRAIN = 'digits/1.0.0/digits-train.tfrecord-00000-of-00001'


def _config(data_dir, **fields):
  config = digits_pretrain.get_config('tiny')
  config.dataset.data_dir = str(data_dir)
  config.dataset.cache_gib = 0.0
  config.total_steps = 40
  config.update_from_flattened_dict(fields)
  return config


def _open(data_dir, **fields):
  """The source of the training images, and a job's config."""
  config = _config(data_dir, **fields)
  return batches_lib.open_source(config, 'train'), config


def _train(source, config):
  return batches_lib.train_batches(source, None, config, 0)


def _url(bucket):
  return f'gs://{bucket.name}'


def _size(bucket):
  """Bytes of the training images' file."""
  return len(bucket.objects[f'{bucket.name}/{TRAIN}'].content)


def _labels(bucket):
  return _open(_url(bucket))[0].labels.tolist()


def test_batches_are_those_of_the_disk(served, bucket):
  fields = {'dataset.shuffle_block': 16, 'dataset.read_ahead': 200}
  np.testing.assert_equal(
    *(list(_train(*_open(x, **fields))) for x in (_url(bucket), served[1]))
  )
  assert bucket.counts.requests['read'] > 40


def test_requests_of_several_batches_are_in_flight(bucket, monkeypatch):
  """None is answered before each thread has asked."""
  monkeypatch.setattr(reading, '_GAP', -1)  # a request for each image
  source, config = _open(_url(bucket), **{'dataset.read_ahead': 400})
  assert source.size == 1497
  bucket.forget()
  bucket.behaviour.gather = reading.THREADS
  assert len(list(_train(source, config))) == 40
  assert bucket.at_once == reading.THREADS >= 4 * config.batch_size
  assert bucket.counts.requests['read'] == 40 * config.batch_size


def test_no_more_is_read_ahead_than_asked_for(bucket, monkeypatch):
  monkeypatch.setattr(reading, '_GAP', -1)
  source, config = _open(_url(bucket), **{'dataset.read_ahead': 10 * 32})
  submit = mock.Mock(wraps=source._reader.submit)
  monkeypatch.setattr(source._reader, 'submit', submit)
  next(_train(source, config))
  begun = sum(len(call.args[0]) for call in submit.mock_calls)
  assert 10 * 32 <= begun <= 12 * 32


def test_neighbours_are_read_together(bucket, monkeypatch):
  """An epoch in blocks takes about a request for each, and no byte twice."""
  monkeypatch.setattr(reading, '_GAP', 16)  # a checksum, a length and its own
  store = batches_lib.open_reader(_config(_url(bucket)), 'train')
  size = sum(map(len, store.read(np.arange(store.size))))
  for block, most in ((8, 188 + 1 + 24), (64, 24 + 1 + 24)):
    bucket.forget()
    for first in range(0, store.size, 64):
      places = np.arange(first, min(first + 64, store.size))
      store.read(shuffle.stream(0, store.size, block, places))
    assert bucket.counts.requests['read'] <= most
    assert size <= bucket.counts.bytes_read <= size + 16 * store.size


@pytest.mark.parametrize('fault', ['error_every', 'lose_every'])
def test_what_fails_is_asked_for_again(served, bucket, monkeypatch, fault):
  monkeypatch.setattr(retry, 'PAUSES', (0,) * 9)
  there, config = _open(_url(bucket), total_steps=20)
  assert there.size == 1497
  setattr(bucket.behaviour, fault, 3)
  here, _ = _open(served[1])
  np.testing.assert_equal(
    *(list(_train(source, config)) for source in (there, here))
  )
  assert bucket.errors > 5


def test_what_stays_away_is_one_line(bucket, monkeypatch):
  source, config = _open(_url(bucket))
  assert source.size == 1497
  monkeypatch.setattr(retry, 'PAUSES', (0, 0, 0))
  bucket.behaviour.error_every = 1
  says = f'^gs://{bucket.name}/{TRAIN} cannot be .*503'
  with pytest.raises(errors.UserError, match=says + '.* disk or the network'):
    next(_train(source, config))
  bucket.behaviour.error_every = 0
  del bucket.objects[f'{bucket.name}/{TRAIN}']
  with pytest.raises(errors.UserError, match='00001 is not there'):
    next(_train(source, config))


def _move(bucket, tmp_path, monkeypatch):
  """Another bucket with the same objects, read by another machine."""
  before = bucket.name
  bucket.name = f'{before}_moved'
  for name, content in list(bucket.objects.items()):
    if name.startswith(f'{before}/'):
      bucket.objects[name.replace(before, bucket.name)] = content
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / bucket.name))
  bucket.forget()


def test_the_index_is_kept_beside_the_files(bucket, tmp_path, monkeypatch):
  size = _size(bucket)
  labels = _labels(bucket)
  assert size < bucket.counts.bytes_read < 1.1 * size

  _move(bucket, tmp_path, monkeypatch)
  assert _labels(bucket) == labels
  assert bucket.counts.bytes_read < 0.1 * size
  index = f'{bucket.name}/digits/1.0.0/selfie_jax/'
  assert any(name.startswith(index) for name in bucket.objects)

  # The same size, but written later.
  _move(bucket, tmp_path, monkeypatch)
  train = f'{bucket.name}/{TRAIN}'
  bucket.put(train, bucket.objects[train].content)
  assert _labels(bucket) == labels
  assert bucket.counts.bytes_read > size


def test_index_of_a_read_only_bucket_is_here(bucket, log_messages, monkeypatch):
  monkeypatch.setattr(retry, 'PAUSES', ())
  size = _size(bucket)
  bucket.behaviour.read_only = True
  labels = _labels(bucket)
  assert f'stored: gs://{bucket.name}/digits/1.0.0/selfie_' in log_messages.text
  bucket.forget()
  assert _labels(bucket) == labels
  assert bucket.counts.bytes_read < 0.1 * size


def test_one_process_finds_the_index_for_all(bucket, monkeypatch):
  bucket.behaviour.read_only = True
  monkeypatch.setattr(retry, 'PAUSES', ())
  found = []

  def primary(make):
    found.append(make())
    return found[-1]

  def images(broadcast):
    """And labels, as a process sees them."""
    monkeypatch.setattr(distributed, 'broadcast_from_primary', broadcast)
    both = batches_lib.open_sources(_config(_url(bucket)))
    shown = next(both[0].eval_images([np.arange(64)]))
    return [shown, *(source.labels for source in both)]

  first = images(primary)
  bucket.forget()
  answers = iter(found)
  np.testing.assert_equal(images(lambda _: next(answers)), first)
  assert bucket.counts.bytes_read < 0.1 * _size(bucket)


GIVES_UP = """
import threading
from selfie_jax.data import reading
reads = [reading.pool.submit(reading.read, 'gs://bucket/file', 4 * n, 4)
         for n in range(1000)]
reads[0].result()
threading.Thread(target=lambda: (
    threading.main_thread().join(), print('ended', flush=True))).start()
"""


@pytest.mark.slow
def test_a_process_ends_after_the_answers_on_their_way(tmp_path):
  """What is queued is not asked for, and tensorstore does not abort it."""
  (tmp_path / 'file').write_bytes(bytes(4000))
  bucket = bucket_lib.Bucket(bucket_lib.Behaviour(latency=0.5))
  bucket.add_folder(tmp_path, 'bucket')
  command = [sys.executable, '-c', GIVES_UP]
  with bucket.serve() as environment:
    said = subprocess.check_output(command, env=os.environ | environment)
  assert said == b'ended\n' and bucket.counts.requests['read'] < 500

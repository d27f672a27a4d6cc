"""A bucket gives the batches of the disk, in few requests, many at once.

The bucket is served on this machine (benchmarks/bucket.py), and the libraries'
own clients ask it. Requests are counted, not timed.
"""

import numpy as np
import pytest
import served_digits

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import reading
from selfie_jax.data import retry
from selfie_jax.data import shuffle


def _batches(config):
  source = batches_lib.open_source(config, 'train')
  return list(batches_lib.train_batches(source, None, config, 0))


def test_batches_are_those_of_the_disk(served, bucket):
  fields = {'dataset.shuffle_block': 16, 'dataset.read_ahead': 200}
  np.testing.assert_equal(
    _batches(served_digits.config_there(bucket, **fields)),
    _batches(served_digits.make_config(served[1], **fields)),
  )
  assert bucket.counts.requests['read'] > 40


def test_requests_of_several_batches_are_in_flight(bucket, monkeypatch):
  """None is answered before each thread has asked."""
  monkeypatch.setattr(reading, '_GAP', -1)  # a request for each image
  config = served_digits.config_there(bucket, **{'dataset.read_ahead': 400})
  source = batches_lib.open_source(config, 'train')
  assert source.size == 1497
  bucket.forget()
  bucket.behaviour.gather = reading.THREADS
  batches = batches_lib.train_batches(source, None, config, 0)
  assert len(list(batches)) == 40
  assert bucket.at_once == reading.THREADS >= 4 * config.batch_size
  assert bucket.counts.requests['read'] == 40 * config.batch_size


def test_no_more_is_read_ahead_than_asked_for(bucket, monkeypatch):
  monkeypatch.setattr(reading, '_GAP', -1)
  config = served_digits.config_there(bucket, **{'dataset.read_ahead': 10 * 32})
  source = batches_lib.open_source(config, 'train')
  _ = source.labels
  bucket.forget()
  begun = []
  submit = source._reader.submit
  monkeypatch.setattr(
    source._reader, 'submit', lambda x: begun.append(len(x)) or submit(x)
  )
  next(batches_lib.train_batches(source, None, config, 0))
  assert 10 * 32 <= sum(begun) <= 12 * 32


def test_neighbours_are_read_together(bucket, monkeypatch):
  """An epoch in blocks takes about a request for each, and no byte twice."""
  monkeypatch.setattr(reading, '_GAP', 16)  # a checksum, a length and its own
  store = batches_lib.open_reader(served_digits.config_there(bucket), 'train')
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
  sources = [
    batches_lib.open_source(config, 'train')
    for config in (
      served_digits.config_there(bucket),
      served_digits.make_config(served[1]),
    )
  ]
  assert sources[0].size == 1497
  setattr(bucket.behaviour, fault, 3)
  config = served_digits.config_there(bucket, total_steps=20)
  np.testing.assert_equal(
    *(list(batches_lib.train_batches(x, None, config, 0)) for x in sources)
  )
  assert bucket.errors > 5


def test_what_stays_away_is_one_line(bucket, monkeypatch):
  config = served_digits.config_there(bucket)
  source = batches_lib.open_source(config, 'train')
  _ = source.labels
  monkeypatch.setattr(retry, 'PAUSES', (0, 0, 0))
  bucket.behaviour.error_every = 1
  says = f'^gs://{bucket.name}/{served_digits.TRAIN} cannot be .*503'
  with pytest.raises(errors.UserError, match=says + '.* disk or the network'):
    next(batches_lib.train_batches(source, None, config, 0))
  bucket.behaviour.error_every = 0
  del bucket.objects[f'{bucket.name}/{served_digits.TRAIN}']
  with pytest.raises(errors.UserError, match='00001 is not there'):
    next(batches_lib.train_batches(source, None, config, 0))

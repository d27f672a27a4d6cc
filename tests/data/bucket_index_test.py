"""Where a set's records lie is found once, and kept beside them."""

import numpy as np
import served_digits

from selfie_jax import distributed
from selfie_jax.data import batches as batches_lib
from selfie_jax.data import retry


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
  size = served_digits.size(bucket)
  labels = served_digits.labels_there(bucket)
  assert size < bucket.counts.bytes_read < 1.1 * size

  _move(bucket, tmp_path, monkeypatch)
  assert served_digits.labels_there(bucket) == labels
  assert bucket.counts.bytes_read < 0.1 * size
  (name,) = (x for x in bucket.objects if x.startswith(bucket.name)
             and 'selfie_jax' in x)  # fmt: skip

  _move(bucket, tmp_path, monkeypatch)
  name = bucket.name + name[name.index('/') :]
  bucket.put(name, bucket.objects[name].content[:-9])
  assert served_digits.labels_there(bucket) == labels
  assert bucket.counts.bytes_read > size

  # The same size, but written later.
  _move(bucket, tmp_path, monkeypatch)
  train = f'{bucket.name}/{served_digits.TRAIN}'
  bucket.put(train, bucket.objects[train].content)
  assert served_digits.labels_there(bucket) == labels
  assert bucket.counts.bytes_read > size


def test_a_bucket_that_cannot_be_written_has_its_index_here(
  bucket, log_messages, monkeypatch
):
  monkeypatch.setattr(retry, 'PAUSES', ())
  size = served_digits.size(bucket)
  bucket.behaviour.read_only = True
  labels = served_digits.labels_there(bucket)
  assert (
    f'stored: gs://{bucket.name}/digits/1.0.0/selfie_jax/' in log_messages.text
  )
  bucket.forget()
  assert served_digits.labels_there(bucket) == labels
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
    both = batches_lib.open_sources(served_digits.config_there(bucket))
    shown = next(both[0].eval_images([np.arange(64)]))
    return [shown, *(source.labels for source in both)]

  first = images(primary)
  bucket.forget()
  answers = iter(found)
  np.testing.assert_equal(images(lambda _: next(answers)), first)
  assert bucket.counts.bytes_read < 0.1 * served_digits.size(bucket)

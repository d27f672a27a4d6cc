"""What was changed since it was saved is known, and old ones are let pass."""

import json

import numpy as np
import pytest

from selfie_jax.storage import checksums


@pytest.fixture
def arrays():
  return {
    'step': np.asarray(3),
    'params': {'a': np.arange(6.0).reshape(2, 3), 'b': np.float32([1, 2])},
    'opt_state': {'0': {}, '1': {'a': np.zeros((2, 3))}},
  }


@pytest.fixture
def progress(arrays):
  rows = [{'step': 3, 'part': 'train', 'loss': 0.1 + 0.2}]
  sealed = checksums.add_checksums({'history': rows, 'window': []}, arrays)
  return json.loads(json.dumps(sealed))


@pytest.mark.parametrize(
  'change',
  [
    lambda x: np.nextafter(x, 9),
    lambda x: -x,  # also where it is 0
    lambda x: x.view(np.int64),
    lambda x: x.reshape(3, 2),
    lambda x: np.asfortranarray(x.T),
  ],
)
def test_a_changed_array_is_named(arrays, progress, change):
  assert checksums.verify(progress, arrays) is None
  assert checksums.verify(progress, {'params': arrays['params']}) is None
  arrays['params']['a'] = change(arrays['params']['a'])
  assert 'params/a is not' in checksums.verify(progress, arrays)
  del arrays['params']['a']
  assert 'params/a is not' in checksums.verify(progress, arrays)


@pytest.mark.parametrize('name', ['history', 'checksums', 'checksum'])
def test_every_word_of_the_progress_is_held(arrays, progress, name):
  value = progress.pop(name)
  assert 'progress is not' in checksums.verify(progress, arrays)
  # As a bit that changed in the name would leave it.
  renamed = progress | {chr(ord(name[0]) ^ 1) + name[1:]: value}
  assert 'progress is not' in checksums.verify(renamed, arrays)


def test_digest_is_of_every_bit_name_and_shape(arrays):
  arrays['batch_stats'] = {}
  digests = [checksums.digest(arrays), checksums.digest(dict(arrays))]
  for changed in (
    np.nextafter(np.float32([1, 2]), 9, dtype=np.float32),
    np.float64([1, 2]),
    np.float32([[1], [2]]),
  ):
    arrays['params']['b'] = changed
    digests.append(checksums.digest(arrays))
  arrays['params'] = {'a': arrays['params']['a'], 'c': changed}
  digests.append(checksums.digest(arrays))
  assert digests[0] == digests[1] and len(set(digests)) == 5

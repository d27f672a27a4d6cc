"""Errors of the disk and lack of memory are one line; others are faults."""

import errno
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfie_jax import errors


@pytest.mark.parametrize(
  'name, code, remedy',
  [
    ('ENOSPC', 2, 'Free disk space or fix the permissions'),
    ('EROFS', 2, 'Free disk space or fix the permissions'),
    ('EIO', 75, 'may pass'),
    ('EINTR', 75, 'may pass'),
    ('ESTALE', 75, 'may pass'),
    ('ETIMEDOUT', 75, 'may pass'),
  ],
)
def test_an_error_of_the_disk_says_what_to_do(name, code, remedy):
  """Schedulers start a job again after code 75, and not after 2."""
  number = getattr(errno, name)
  with pytest.raises(errors.UserError) as caught, errors.as_disk_error():
    raise OSError(number, os.strerror(number), '/runs/a')
  assert caught.value.exit_code == code
  for said in (os.strerror(number), '/runs/a', remedy, 'command again'):
    assert said in str(caught.value)


@pytest.mark.parametrize(
  'allocate',
  [lambda: np.empty(10**16), lambda: jax.jit(lambda: jnp.zeros(2**44) + 1)()],
)
def test_a_lack_of_memory_says_what_to_make_smaller(allocate):
  with pytest.raises(errors.UserError) as caught, errors.as_user_error():
    allocate()
  said = str(caught.value)
  assert re.search(r'Unable to allocate|Out of memory allocating', said)
  assert '--config.batch_size' in said and caught.value.exit_code == 2


def _as_by_requests(cause):
  """Which has no number, and is one of the system's errors too."""
  error = OSError('HTTPSConnectionPool(host=...): Max retries exceeded')
  error.__context__ = cause
  return error


def test_a_timeout_may_pass():
  for error in (
    TimeoutError('Timed out after 3600 seconds.'),  # as orbax, after a jump
    RuntimeError('DEADLINE_EXCEEDED: Barrier timed out.'),
    ValueError('UNKNOWN: reading: Input/output error [source]'),
    ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer'),
    _as_by_requests(TimeoutError('timed out')),
  ):
    made = errors.disk_error('a checkpoint cannot be written', error)
    assert made.exit_code == 75 and 'Free disk' not in str(made)
  full = errors.disk_error('', OSError(errno.ENOSPC, 'No space left, timeout'))
  assert full.exit_code == 2


def test_another_error_of_the_system_stays_a_fault():
  with pytest.raises(FileNotFoundError), errors.as_user_error():
    open('/there/is/no/such/file')


def test_the_reason_is_the_disks_and_not_the_words_of_libraries():
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  error = RuntimeError('Consider re-running without the writer')
  error.__cause__ = full
  assert 'No space left on device' in errors.reason(error)
  assert 'Consider' not in errors.reason(error)
  long = ValueError('UNKNOWN: ' + 300 * 'x' + ': Input/output error [source]')
  assert errors.reason(long) == 'Input/output error'
  assert errors.reason(ValueError('two\nlines')) == 'two lines'


def test_errors_that_are_the_cause_of_each_other_have_a_reason():
  """As of a future, which raises its error each time that it is asked."""
  error, other = ValueError('raised again'), errors.UserError('in one line')
  error.__context__, other.__cause__ = other, error
  assert errors.reason(error) == 'raised again'

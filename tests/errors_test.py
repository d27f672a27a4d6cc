"""An error of the disk is one line; another OSError is a fault, as it was."""

from concurrent import futures
import errno
import os

import pytest

from selfie_jax import errors


@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC, errno.EINTR])
def test_an_error_of_the_disk_is_for_the_person_at_the_keyboard(number):
  with pytest.raises(errors.UserError) as caught, errors.as_disk_error():
    raise OSError(number, os.strerror(number), '/runs/a')
  said = str(caught.value)
  assert os.strerror(number) in said
  assert '/runs/a' in said
  assert 'type the same command again' in said


def test_another_error_of_the_system_stays_a_fault():
  with pytest.raises(FileNotFoundError), errors.as_disk_error():
    open('/there/is/no/such/file')


def test_the_reason_is_the_disks_and_not_the_words_of_libraries():
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  try:
    raise RuntimeError('Consider re-running without the writer') from full
  except RuntimeError as error:
    assert 'No space left on device' in errors.reason(error)
    assert 'Consider' not in errors.reason(error)
  long = ValueError('UNKNOWN: ' + 300 * 'x' + ': Input/output error [source]')
  assert errors.reason(long) == 'Input/output error'
  assert errors.reason(ValueError('two\nlines')) == 'two lines'
  assert errors.reason(ValueError()) == 'ValueError'


def test_an_error_that_is_raised_again_while_it_is_handled():
  """Futures raise theirs each time: it comes to be the cause of its context."""
  future = futures.Future()
  future.set_exception(ValueError('raised again'))
  try:
    try:
      future.result()
    except ValueError as error:
      raise errors.UserError('in one line') from error
  except errors.UserError:
    with pytest.raises(ValueError) as caught:
      future.result()
  assert caught.value.__context__.__cause__ is caught.value
  assert errors.reason(caught.value) == 'raised again'

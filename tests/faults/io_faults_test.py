"""Whichever file operation fails, a job ends with its numbers all the same."""

import collections
import errno
import shutil
import sys

import io_faults
import io_jobs
import pytest

pytestmark = pytest.mark.skipif(
  sys.platform != 'linux' or not shutil.which('cc'),
  reason='needs Linux and a C compiler',
)

STATE = 'run/checkpoints/*/state*'
# One a start: TensorBoard's first file, which is opened beside the run; in the
# first checkpoint, in one later on, and while the one that there is by then is
# read.
FEW = (
  io_jobs.Position('create', 'run/events.out.*', 1, errno.ENOSPC),
  io_jobs.Position('fsync', f'{STATE}/ocdbt*/d/*', 2, errno.EIO),
  io_jobs.Position('write', f'{STATE}/_METADATA', 2, errno.ENOSPC),
  io_jobs.Position('read', 'run/checkpoints/*/progress/metadata', 1, errno.EIO),
)


@pytest.fixture(scope='module')
def laboratory(tmp_path_factory):
  with io_faults.Laboratory(tmp_path_factory.mktemp('faults')) as laboratory:
    yield laboratory


def test_a_pretraining_outlives_one_failure_after_another(laboratory):
  result = laboratory.trial('pretrain', *FEW)
  kinds = [line.partition('\t')[0] for line in result['failed']]
  assert kinds == ['create', 'fsync', 'write', 'read']
  assert result['outcome'] in io_faults.GOOD, result


@pytest.mark.slow
@pytest.mark.parametrize('name', io_jobs.JOBS)
def test_every_kind_of_operation_on_every_kind_of_file(laboratory, name):
  _, operations = laboratory.undisturbed(name)
  results = []
  for position in io_jobs.draw(name, operations):
    results.append(vars(position) | laboratory.trial(name, position))
    print(name, *results[-1].values(), flush=True)
  print(name, collections.Counter(row['outcome'] for row in results))
  assert len(results) > 10
  assert not [row for row in results if row['outcome'] not in io_faults.GOOD]
  met = {row['kind'] for row in results if row['outcome'] != 'not met'}
  assert met == {row['kind'] for row in results}

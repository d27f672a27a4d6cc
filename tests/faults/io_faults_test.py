"""Whichever file operation fails, a job ends with its numbers all the same."""

import errno
import os
import subprocess
import sys

import io_faults
import io_jobs
import io_positions
import pytest

pytestmark = pytest.mark.skipif(
  not io_faults.can_build(), reason='needs Linux and a C compiler'
)

STATE = 'run/checkpoints/*/state*'
# One a start: TensorBoard's first file, which is opened beside the run; in the
# first checkpoint, in one later on, and while the one that there is by then is
# read.
FEW = (
  io_positions.Position('create', 'run/events.out.*', 1, errno.ENOSPC),
  io_positions.Position('fsync', f'{STATE}/ocdbt*/d/*', 2, errno.EIO),
  io_positions.Position('write', f'{STATE}/_METADATA', 2, errno.ENOSPC),
  io_positions.Position(
    'read', 'run/checkpoints/*/progress/metadata', 1, errno.EIO
  ),
)
# Prints what fails, and what it leaves.
OPERATIONS = """
import os, sys
os.chdir(sys.argv[1])
def tried(name, function, *arguments):
  try:
    return function(*arguments)
  except OSError as error:
    print(name, error.errno)
tried('mkdir', os.mkdir, 'below')
for _ in range(2):
  file = tried('open', lambda: open('below/file', 'wb', buffering=0))
  if file:
    tried('write', file.write, b'12345')
    tried('fsync', os.fsync, file.fileno())
    tried('close', file.close)
  tried('read', lambda: open('below/file', 'rb').read())
  tried('stat', os.stat, 'below')
  tried('list', os.listdir, 'below')
  tried('rename', os.rename, 'below/file', 'below/other')
  tried('unlink', os.unlink, 'below/other')
tried('rmdir', os.rmdir, 'below')
open('beside', 'w').close()
"""


@pytest.fixture(scope='module')
def laboratory(tmp_path_factory):
  with io_faults.Laboratory(tmp_path_factory.mktemp('faults')) as laboratory:
    yield laboratory


@pytest.mark.parametrize(
  'kind', 'mkdir create write fsync close read stat list rename unlink'.split()
)
def test_one_operation_fails_and_the_others_are_done(kind, tmp_path):
  library = io_faults.build(tmp_path)
  work = tmp_path / 'work'
  work.mkdir()

  def run(**settings):
    (tmp_path / 'list').unlink(missing_ok=True)
    done = subprocess.run(
      [sys.executable, '-c', OPERATIONS, work],
      env=os.environ
      | {
        'LD_PRELOAD': str(library),
        'FAILING_IO_BELOW': str(work / 'below'),
        'FAILING_IO_LIST': str(tmp_path / 'list'),
      }
      | settings,
      capture_output=True,
      text=True,
      check=True,
    )
    lines = (tmp_path / 'list').read_text().splitlines()
    return done.stdout, [tuple(line.split('\t')) for line in lines]

  said, operations = run()
  assert not said
  assert {kind for kind, _ in operations} >= {kind, 'open', 'rmdir'}
  assert {path for _, path in operations} == {'', 'file', 'other'}
  said, operations = run(
    FAILING_IO_KIND=kind,
    FAILING_IO_PATHS='' if kind == 'stat' else '*',
    FAILING_IO_NUMBER='1',
    FAILING_IO_ERRNO=str(errno.EDQUOT),
  )
  name = {'create': 'open'}.get(kind, kind)
  assert said.splitlines()[0] == f'{name} {errno.EDQUOT}'
  assert [kind for kind, _, *failed in operations if failed] == [kind]


def test_a_pretraining_outlives_one_failure_after_another(laboratory):
  result = laboratory.trial('pretrain', *FEW)
  kinds = [line.partition('\t')[0] for line in result['failed']]
  assert kinds == ['create', 'fsync', 'write', 'read']
  assert result['outcome'] in io_faults.GOOD, result


@pytest.mark.slow
@pytest.mark.parametrize('name', io_jobs.JOBS)
def test_every_kind_of_operation_on_every_kind_of_file(laboratory, name):
  results = io_faults.run_through(laboratory, name)
  assert len(results) > 10
  assert not [r for r in results if r['outcome'] not in io_faults.GOOD]

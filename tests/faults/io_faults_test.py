"""Whichever file operation fails, a job ends with its numbers all the same."""

import collections
import errno
import os
import shutil
import subprocess
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
# Fails the first of each kind in turn; prints a line for each: the kind, and
# which operations raised which error.
OPERATIONS = """
import ctypes, os, sys
os.chdir(sys.argv[1])
def tried(name, function, *arguments):
  try:
    return function(*arguments)
  except OSError as error:
    raised.append(f'{name}={error.errno}')
for kind in sys.argv[2:]:
  os.environ['FAILING_IO_KIND'] = kind
  os.environ['FAILING_IO_PATHS'] = '' if kind == 'stat' else '*'
  ctypes.CDLL(None).failing_io_settings()
  raised = []
  tried('mkdir', os.mkdir, 'below')
  for _ in range(2):
    file = tried('create', lambda: open('below/file', 'wb', buffering=0))
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
  print(kind, *raised)
"""
KINDS = 'none mkdir create write fsync close read stat list rename'.split()
KINDS += ['unlink']


@pytest.fixture(scope='module')
def laboratory(tmp_path_factory):
  with io_faults.Laboratory(tmp_path_factory.mktemp('faults')) as laboratory:
    yield laboratory


@pytest.mark.slow
def test_one_operation_fails_and_the_others_are_done(tmp_path):
  listed = tmp_path / 'list'
  work = tmp_path / 'work'
  work.mkdir()
  said = subprocess.check_output(
    [sys.executable, '-c', OPERATIONS, work, *KINDS],
    env=os.environ
    | {
      'LD_PRELOAD': str(io_faults.build(tmp_path)),
      'FAILING_IO_BELOW': str(work / 'below'),
      'FAILING_IO_LIST': str(listed),
      'FAILING_IO_ERRNO': str(errno.EDQUOT),
    },
    text=True,
  )
  none, *others = said.splitlines()
  assert none == 'none'
  for kind, line in zip(KINDS[1:], others, strict=True):
    assert line.split()[:2] == [kind, f'{kind}={errno.EDQUOT}']
  lines = [line.split('\t') for line in listed.read_text().splitlines()]
  assert [kind for kind, _, *failed in lines if failed] == KINDS[1:]
  assert {path for _, path, *_ in lines} == {'', 'file', 'other'}


def test_a_pretraining_outlives_one_failure_after_another(laboratory):
  result = laboratory.trial('pretrain', *FEW)
  kinds = [line.partition('\t')[0] for line in result['failed']]
  assert kinds == ['create', 'fsync', 'write', 'read']
  assert result['outcome'] in io_faults.GOOD, result


@pytest.mark.slow
@pytest.mark.parametrize('name', io_jobs.JOBS)
def test_every_kind_of_operation_on_every_kind_of_file(laboratory, name):
  results = laboratory.run_through(name)
  print(name, collections.Counter(row['outcome'] for row in results))
  assert len(results) > 10
  assert not [row for row in results if row['outcome'] not in io_faults.GOOD]

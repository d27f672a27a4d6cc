"""Whatever happens to a checkpoint's files, no other numbers come out of it."""

import contextlib
import errno
import os
import shutil
from unittest import mock

import pytest
import small_states

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib


def files(folder):
  return sorted(path for path in folder.rglob('*') if path.is_file())


def change(path, how):
  content = bytearray(path.read_bytes())
  if how == 'deleted':
    path.unlink()
    return
  if how == 'emptied':
    content = b''
  elif how == 'truncated':
    content = content[: len(content) // 2]
  else:
    content[int(how * (len(content) - 1))] ^= 4
  path.write_bytes(bytes(content))


CHANGES = ['deleted', 'emptied', 'truncated', 0.0, 0.2, 0.5, 0.8, 1.0]


@pytest.mark.parametrize('how', CHANGES)
def test_damage_to_any_file_gives_the_same_bits_or_the_step_before(
  how, original, tmp_path, no_pauses
):
  """A file that orbax does not need may be damaged; its numbers never are."""
  steps = {}
  for i, path in enumerate(files(original / 'checkpoints' / '6')):
    copy = tmp_path / str(i)
    shutil.copytree(original, copy)
    change(copy / path.relative_to(original), how)
    name = str(path.relative_to(original / 'checkpoints' / '6'))
    steps[name] = small_states.resumed(copy)
    assert (copy / 'damaged' / '6').exists() == (steps[name] == 3)
    assert small_states.weights_step(copy) == steps[name]
  assert steps['progress/metadata'] == 3
  assert set(steps.values()) <= {3, 6}


UNREADABLE = '/proc/self/mem'  # where reading byte 0 is a real EIO


@contextlib.contextmanager
def broken(path):
  """While it is entered, the disk cannot read this file."""
  good = path.with_name(path.name + '.good')
  path.rename(good)
  path.symlink_to(UNREADABLE)
  yield
  good.replace(path)


def test_an_error_of_the_disk_is_no_damage(run, no_pauses):
  """Whichever file it is: one line, or the numbers if orbax needs it not."""
  said = []
  for path in files(run / 'checkpoints' / '6'):
    with broken(path):
      try:
        assert small_states.resumed(run) == 6
      except errors.UserError as error:
        said.append(str(error))
  assert any('Input/output error' in line for line in said)
  assert all(f'{run}/checkpoints/6 cannot be read' in line for line in said)
  assert not (run / 'damaged').exists()
  assert small_states.resumed(run) == 6


def test_an_error_of_the_disk_that_passes_is_none(run, monkeypatch):
  """The disk recovers in the pause after the second failure."""
  pauses = []
  with contextlib.ExitStack() as disk:
    for path in files(run / 'checkpoints' / '6'):
      disk.enter_context(broken(path))

    def sleep(seconds):
      pauses.append(seconds)
      if len(pauses) == 2:
        disk.close()

    monkeypatch.setattr(workdir_lib.time, 'sleep', sleep)
    assert small_states.resumed(run) == 6
  assert pauses == [*workdir_lib.PAUSES]
  assert not (run / 'damaged').exists()


def test_a_lack_of_memory_is_no_damage(run, monkeypatch):
  none = mock.Mock(side_effect=MemoryError)
  with monkeypatch.context() as full:
    full.setattr(checksums, '_read', none)
    with pytest.raises(MemoryError):
      small_states.resumed(run)
  assert small_states.resumed(run) == 6 and none.called


@pytest.mark.parametrize('place', ['/checkpoints', '/checkpoints/6'])
def test_what_cannot_be_looked_at_is_not_passed_over(
  place, run, monkeypatch, no_pauses
):
  left, real = [0], os.stat  # how often it fails

  def stat(path, *args, **kwargs):
    if str(path).endswith(place) and left[0]:
      left[0] -= 1
      raise OSError(errno.EIO, 'Input/output error', path)
    return real(path, *args, **kwargs)

  monkeypatch.setattr(os, 'stat', stat)
  for use in (small_states.weights_step, small_states.resumed):
    left[0] = 1
    assert use(run) == 6 and not left[0]
    left[0] = 1000
    with pytest.raises(errors.UserError, match='Input/output error'):
      use(run)


def test_names_that_are_patterns(tmp_path):
  run = small_states.saved(tmp_path / 'Selfie [JAX]' / 'a*?')
  assert small_states.resumed(run) == small_states.weights_step(run) == 6
  small_states.save(run, 9, keep=1)
  assert [path.name for path in (run / 'checkpoints').iterdir()] == ['9']
  assert small_states.resumed(run) == 9


def test_none_valid_is_one_error_and_nothing_is_moved(run, no_pauses):
  for step in ('3', '6'):
    (run / 'checkpoints' / step / 'progress' / 'metadata').unlink()
  with pytest.raises(errors.UserError, match='6 is damaged.*3 is damaged'):
    small_states.resumed(run)
  with pytest.raises(errors.UserError, match='type its command again'):
    weights.restore(str(run))
  assert not (run / 'damaged').exists()


def test_another_optimiser_is_refused_and_is_no_damage(run):
  other = small_states.state_of(0).replace(opt_state=())
  with small_states.open_manager(run) as manager:
    with pytest.raises(errors.UserError, match='another version'):
      weights.resume(manager, other, {})
  assert not (run / 'damaged').exists()


@pytest.mark.parametrize(
  'steps, damaged', [((6,), 'state/d/*'), ((3, 6), 'state/manifest.ocdbt')]
)
def test_no_older_one_goes_before_the_new_one_reads_back(
  steps, damaged, tmp_path, no_pauses
):
  """The first of a process is read whole, the files of others are listed."""
  if 3 not in steps:
    small_states.save(tmp_path, 3)
  with small_states.open_manager(tmp_path, 1) as manager:
    for step in steps:
      checkpoints.save(
        manager, small_states.state_of(step), small_states.progress_of(step)
      )
    manager.wait_until_finished()
    [path] = (tmp_path / 'checkpoints' / '6').glob(damaged)
    os.truncate(path, 0)
    with pytest.raises(errors.UserError, match='was just written. The older'):
      checkpoints.wait(manager)
  assert sorted(os.listdir(tmp_path / 'checkpoints')) == ['3', '6']
  assert small_states.resumed(tmp_path) == 3


def test_what_is_no_checkpoint_is_ignored_and_stays(run, no_pauses):
  folder = run / 'checkpoints'
  for name in ('.ipynb_checkpoints', 'notes', '7.old', '040'):
    (folder / name).mkdir()
  (folder / '50').touch()
  (folder / '30').symlink_to('nowhere')
  assert small_states.resumed(run) == small_states.weights_step(run) == 6
  small_states.save(run, 9)
  assert small_states.resumed(run) == 9 and (folder / 'notes').exists()


def test_quarantined_twice_keeps_the_later(run, no_pauses):
  for mark in ('first', 'second'):
    small_states.damage(run)
    (run / 'checkpoints' / '6' / mark).touch()
    assert small_states.resumed(run) == 3
    assert (run / 'damaged' / '6' / mark).exists()
    shutil.copytree(run / 'damaged' / '6', run / 'checkpoints' / '6')

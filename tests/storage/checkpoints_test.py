"""Whatever happens to a checkpoint's files, no other numbers come out of it."""

import contextlib
import errno
import json
import os
import shutil

from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib

TX = optax.sgd(0.1, momentum=0.9)


class State(train_state.TrainState):
  batch_stats: dict


def state_of(step):
  rng = np.random.default_rng(step)
  everywhere = jax.sharding.NamedSharding(
    jax.sharding.Mesh(jax.local_devices(), ('batch',)),
    jax.sharding.PartitionSpec(),
  )
  params = {'a': {'kernel': jnp.asarray(rng.normal(size=(5, 7)))}}
  state = State.create(
    apply_fn=None,
    params=params,
    batch_stats={'a': {'mean': jnp.asarray(rng.normal(size=3))}},
    tx=TX,
  )
  return jax.device_put(state.replace(step=jnp.int32(step)), everywhere)


def row(step):
  return {'step': step, 'part': 'validation', 'accuracy': step / 10}


def progress_of(step):
  return {'history': [row(s) for s in (3, 6) if s <= step], 'window': []}


def saved(folder):
  workdir = workdir_lib.run_path(folder)
  with checkpoints.open_manager(workdir, 2) as manager:
    for step in (3, 6):
      checkpoints.save(manager, state_of(step), progress_of(step))
    checkpoints.wait(manager)
  return folder


def resumed(folder):
  """The step that is resumed; it is what was saved, to the bit."""
  with checkpoints.open_manager(workdir_lib.run_path(folder), 2) as manager:
    state, progress = checkpoints.resume(manager, state_of(0))
  step = int(state.step)
  jax.tree.map(np.testing.assert_array_equal, state, state_of(step))
  assert progress['history'] == progress_of(step)['history']
  return step


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  return saved(tmp_path_factory.mktemp('run'))


@pytest.fixture
def run(original, tmp_path):
  shutil.copytree(original, tmp_path / 'run')
  return tmp_path / 'run'


@pytest.fixture
def no_pauses(monkeypatch):
  monkeypatch.setattr(workdir_lib, 'PAUSES', (0.0, 0.0))


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
    steps[name] = resumed(copy)
    assert (copy / 'damaged' / '6').exists() == (steps[name] == 3)
    if steps[name] == 3:
      assert int(weights.restore(str(copy))['step']) == 3
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
        assert resumed(run) == 6
      except errors.UserError as error:
        said.append(str(error))
  assert any('Input/output error' in line for line in said)
  assert all(f'{run}/checkpoints/6 cannot be read' in line for line in said)
  assert not (run / 'damaged').exists()
  assert resumed(run) == 6


@pytest.mark.parametrize('fails', [1, 2])
def test_an_error_of_the_disk_that_passes_is_none(fails, run, monkeypatch):
  """The disk recovers in the pause after so many failures."""
  pauses = []
  with contextlib.ExitStack() as disk:
    for path in files(run / 'checkpoints' / '6'):
      disk.enter_context(broken(path))

    def sleep(seconds):
      pauses.append(seconds)
      if len(pauses) == fails + 1:
        disk.close()

    monkeypatch.setattr(workdir_lib.time, 'sleep', sleep)
    assert resumed(run) == 6
  assert len(pauses) == fails + 1
  assert not (run / 'damaged').exists()


@pytest.mark.parametrize('fails', [1, 1000])
def test_a_step_that_cannot_be_looked_at_is_not_passed_over(
  fails, run, monkeypatch, no_pauses
):
  failed = []
  real = os.stat

  def stat(path, *args, **kwargs):
    if str(path).endswith('checkpoints/6') and len(failed) < fails:
      failed.append(path)
      raise OSError(errno.EIO, 'Input/output error', path)
    return real(path, *args, **kwargs)

  monkeypatch.setattr(os, 'stat', stat)
  if fails == 1:
    assert resumed(run) == 6
  else:
    with pytest.raises(errors.UserError, match='Input/output error'):
      resumed(run)
  assert failed and not (run / 'damaged').exists()


def test_names_that_are_patterns(tmp_path):
  run = saved(tmp_path / 'Selfie [JAX]' / 'a*?')
  assert resumed(run) == 6
  assert int(weights.restore(str(run))['step']) == 6
  with checkpoints.open_manager(workdir_lib.run_path(run), 1) as manager:
    checkpoints.save(manager, state_of(9), progress_of(9))
    checkpoints.wait(manager)
  assert [path.name for path in (run / 'checkpoints').iterdir()] == ['9']
  assert resumed(run) == 9


def test_a_foreign_folder_does_not_matter(run):
  for name in ('.ipynb_checkpoints', 'notes', '7.old'):
    (run / 'checkpoints' / name).mkdir()
  assert resumed(run) == 6
  with checkpoints.open_manager(workdir_lib.run_path(run), 2) as manager:
    checkpoints.save(manager, state_of(9), progress_of(9))
    checkpoints.wait(manager)
  assert resumed(run) == 9
  assert (run / 'checkpoints' / 'notes').exists()


def test_none_valid_is_one_error_and_nothing_is_moved(run, no_pauses):
  for step in ('3', '6'):
    (run / 'checkpoints' / step / 'progress' / 'metadata').unlink()
  with pytest.raises(errors.UserError, match=r'can be read \(6, 3\)'):
    resumed(run)
  with pytest.raises(errors.UserError, match='run its job again'):
    weights.restore(str(run))
  assert not (run / 'damaged').exists()


def test_another_optimiser_is_refused_and_is_no_damage(run):
  other = State.create(
    apply_fn=None, params=state_of(0).params, batch_stats={}, tx=optax.sgd(0.1)
  )
  with checkpoints.open_manager(workdir_lib.run_path(run), 2) as manager:
    with pytest.raises(errors.UserError, match='another version'):
      checkpoints.resume(manager, other)
  assert not (run / 'damaged').exists()


def test_weights_of_a_finished_run_are_those_its_results_are_of(run, no_pauses):
  assert int(weights.restore(str(run))['step']) == 6
  for step in (3, 6):
    results = run / 'results.json'
    results.write_text(json.dumps({'checkpoint': step}))
    read = weights.restore(str(run))
    assert int(read['step']) == step
    for name in ('params', 'batch_stats'):
      expected = getattr(state_of(step), name)
      jax.tree.map(np.testing.assert_array_equal, read[name], expected)
  shutil.rmtree(run / 'checkpoints' / '6' / 'state')
  assert int(weights.restore(str(run))['step']) == 3
  with pytest.raises(errors.UserError, match='no checkpoint of step 5, but of'):
    weights.restore(str(run), 5)


def test_best_is_restored_or_the_next_best(run, no_pauses):
  history = progress_of(6)['history']
  history[0]['accuracy'] = 0.9
  for best in (3, 6):
    with checkpoints.open_manager(workdir_lib.run_path(run), 2) as manager:
      state = checkpoints.restore_best(manager, state_of(0), history)
    assert int(state.step) == best
    (run / 'checkpoints' / '3' / 'progress' / 'metadata').write_text('')


def test_quarantined_twice_keeps_the_later(run, no_pauses):
  for mark in ('first', 'second'):
    newest = run / 'checkpoints' / '6'
    (newest / 'progress' / 'metadata').write_text('')
    (newest / mark).write_text('')
    assert resumed(run) == 3
    assert (run / 'damaged' / '6' / mark).exists()
    shutil.copytree(run / 'damaged' / '6', newest)
  assert not (run / 'damaged' / '6' / 'nothing').exists()


def test_best_step_is_the_later_one_of_two_equals():
  part = {'part': 'validation', 'loss': 9.0}
  history = [part | {'step': s, 'accuracy': a} for s, a in [(1, 2), (3, 2)]]
  history += [{'step': 4, 'part': 'train', 'accuracy': 3.0}]
  assert checkpoints.best_step(history) == 3
  assert checkpoints.best_step(history[-1:]) is None

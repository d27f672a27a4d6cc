"""Whatever happens to a checkpoint's files, no other numbers come out of it."""

import contextlib
import errno
import json
import os
import shutil

from flax import serialization
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import restoring
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
    state, progress = restoring.resume(manager, state_of(0))
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
    assert int(weights.restore(str(copy))['step']) == steps[name]
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
  with pytest.raises(errors.UserError, match='type its command again'):
    weights.restore(str(run))
  assert not (run / 'damaged').exists()


def test_another_optimiser_is_refused_and_is_no_damage(run):
  other = State.create(
    apply_fn=None, params=state_of(0).params, batch_stats={}, tx=optax.sgd(0.1)
  )
  with checkpoints.open_manager(workdir_lib.run_path(run), 2) as manager:
    with pytest.raises(errors.UserError, match='another version'):
      restoring.resume(manager, other)
  assert not (run / 'damaged').exists()


def test_weights_of_a_finished_run_are_those_its_results_are_of(run, no_pauses):
  assert int(weights.restore(str(run))['step']) == 6
  results = run / 'results.json'
  for step in (3, 6):
    network = {k: getattr(state_of(step), k) for k in ('params', 'batch_stats')}
    digest = checksums.digest(jax.device_get(network))
    results.write_text(json.dumps({'checkpoint': step, 'weights': digest}))
    read = weights.restore(str(run))
    assert int(read['step']) == step
    for name, expected in network.items():
      jax.tree.map(np.testing.assert_array_equal, read[name], expected)
  with pytest.raises(errors.UserError, match='no checkpoint of step 5, but of'):
    weights.restore(str(run), 5)
  swapped = {'checkpoint': 3, 'weights': digest}
  results.write_text(json.dumps(swapped))
  with pytest.raises(errors.UserError, match='other weights than the results'):
    weights.restore(str(run))


def test_no_other_weights_are_taken_for_those_that_are_meant(run, no_pauses):
  """The newest of an unfinished run, and those of the results."""
  (run / 'checkpoints' / '6' / 'progress' / 'metadata').write_text('')
  with pytest.raises(errors.UserError, match='6 is damaged.*type its command'):
    weights.restore(str(run))
  (run / 'results.json').write_text(json.dumps({'checkpoint': 6}))
  with pytest.raises(errors.UserError, match='6 is damaged.*put back its copy'):
    weights.restore(str(run))
  shutil.rmtree(run / 'checkpoints' / '6')
  with pytest.raises(errors.UserError, match='no longer the checkpoint of st'):
    weights.restore(str(run))
  assert int(weights.restore(str(run), 3)['step']) == 3


@pytest.mark.parametrize('best', [3, 6])
def test_the_best_is_restored_and_no_other(best, run, no_pauses):
  history = progress_of(6)['history']
  history[best == 6]['accuracy'] = 0.9

  def restored():
    with checkpoints.open_manager(workdir_lib.run_path(run), 2) as manager:
      return restoring.restore_best(manager, state_of(0), history)

  assert int(restored().step) == best
  jax.tree.map(
    np.testing.assert_array_equal, restored().params, state_of(best).params
  )
  (run / 'checkpoints' / str(best) / 'progress' / 'metadata').write_text('')
  with pytest.raises(errors.UserError, match=f'{best} is damaged.*is the best'):
    restored()
  shutil.rmtree(run / 'checkpoints' / str(best))
  with pytest.raises(errors.UserError, match='there is no .*is the best'):
    restored()


def test_a_flipped_bit_in_the_momentum_hinders_training_only(tmp_path):
  """As if it had changed on the disk: the arrays are not those of the sums."""
  state = state_of(6)
  momentum = jax.tree.map(lambda x: x + 1, state.opt_state)
  progress = checksums.add_checksums(
    progress_of(6), jax.device_get(serialization.to_state_dict(state))
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(checksums, 'add_checksums', lambda *_: progress)
    patch.setattr(checksums, 'read', lambda *_: None)
    with checkpoints.open_manager(workdir_lib.run_path(tmp_path), 2) as manager:
      checkpoints.save(manager, state.replace(opt_state=momentum), {})
      checkpoints.wait(manager)
  assert int(weights.restore(str(tmp_path))['step']) == 6
  with checkpoints.open_manager(workdir_lib.run_path(tmp_path), 2) as manager:
    history = progress['history'][1:]
    best = restoring.restore_best(manager, state_of(0), history)
    assert int(best.step) == 6
    with pytest.raises(errors.UserError, match='opt_state/.* is not what was'):
      restoring.resume(manager, state_of(0))


@pytest.mark.parametrize('whole', [True, False])
def test_no_older_one_goes_before_the_new_one_reads_back(
  whole, tmp_path, monkeypatch, no_pauses
):
  """The first of a process is read whole, the files of others are listed."""
  manager = checkpoints.open_manager(workdir_lib.run_path(tmp_path), 1)
  steps = [3, 6] if whole else [3, 6, 9]
  for step in steps[:-1]:
    checkpoints.save(manager, state_of(step), progress_of(step))
    if not whole:
      checkpoints.wait(manager)
  checkpoints.save(manager, state_of(steps[-1]), progress_of(steps[-1]))
  manager.wait_until_finished()
  newest = tmp_path / 'checkpoints' / str(steps[-1])
  if whole:
    shutil.rmtree(newest / 'state')
  else:
    os.truncate(newest / 'state' / 'manifest.ocdbt', 0)
  with pytest.raises(errors.UserError, match='was just written. The older'):
    checkpoints.wait(manager)
  manager.close()
  names = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert names == set(map(str, steps[-2:]))
  assert resumed(tmp_path) == steps[-2]


@pytest.mark.parametrize('name', ['030', '²', '30', 'link'])
def test_what_is_no_checkpoint_is_ignored(name, run):
  path = run / 'checkpoints' / name
  if name == '30':
    path.touch()
  elif name == 'link':
    path = path.with_name('30')
    path.symlink_to('nowhere')
  else:
    path.mkdir()
  assert resumed(run) == 6
  assert int(weights.restore(str(run))['step']) == 6


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

"""Where one checkpoint is meant, no other takes its place."""

import json
import shutil

from flax import serialization
import jax
import numpy as np
import pytest
import small_states

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import checksums
from selfie_jax.storage import weights


def network_of(step):
  state = small_states.state_of(step)
  return {name: getattr(state, name) for name in weights.NETWORK}


def test_weights_of_a_finished_run_are_those_its_results_are_of(run, no_pauses):
  assert small_states.weights_step(run) == 6
  results = run / 'results.json'
  for step in (3, 6):
    network = network_of(step)
    digest = checksums.digest(network)
    results.write_text(json.dumps({'checkpoint': step, 'weights': digest}))
    read = weights.restore(str(run))
    jax.tree.map(np.testing.assert_array_equal, read, network)
  with pytest.raises(errors.UserError, match='no checkpoint of step 5, but of'):
    weights.restore(str(run), 5)
  swapped = {'checkpoint': 3, 'weights': digest}
  results.write_text(json.dumps(swapped))
  with pytest.raises(errors.UserError, match='other weights than the results'):
    weights.restore(str(run))


def test_no_other_weights_are_taken_for_those_that_are_meant(run, no_pauses):
  """The newest of an unfinished run, and those of the results."""
  small_states.damage(run)
  with pytest.raises(errors.UserError, match='6 is damaged.*type its command'):
    weights.restore(str(run))
  (run / 'results.json').write_text(json.dumps({'checkpoint': 6}))
  with pytest.raises(errors.UserError, match='6 is damaged.*put back its copy'):
    weights.restore(str(run))
  shutil.rmtree(run / 'checkpoints' / '6')
  with pytest.raises(errors.UserError, match='of step 6, which its results'):
    weights.restore(str(run))
  assert small_states.weights_step(run, 3) == 3
  shutil.rmtree(run / 'checkpoints')
  with pytest.raises(errors.UserError, match='has lost its checkpoints'):
    weights.restore(str(run))


def test_an_exported_checkpoint_cannot_be_resumed(tmp_path):
  with small_states.open_manager(tmp_path) as manager:
    checkpoints.save(manager, network_of(6), small_states.progress_of(6))
    checkpoints.wait(manager)
    with pytest.raises(errors.UserError, match='exported.*--config.init_from'):
      weights.resume(manager, small_states.state_of(0), {})


@pytest.mark.parametrize('best', [3, 6])
def test_the_best_is_restored_and_no_other(best, run, no_pauses):
  history = small_states.progress_of(6)['history']
  history[best == 6]['accuracy'] = 0.9

  def restored():
    with small_states.open_manager(run) as manager:
      return weights.restore_best(manager, small_states.state_of(0), history)

  assert int(restored().step) == best
  jax.tree.map(
    np.testing.assert_array_equal,
    restored().params,
    small_states.state_of(best).params,
  )
  small_states.damage(run, best)
  with pytest.raises(errors.UserError, match=f'{best} is damaged.*is the best'):
    restored()
  shutil.rmtree(run / 'checkpoints' / str(best))
  with pytest.raises(errors.UserError, match='there is no .*is the best'):
    restored()


def test_a_flipped_bit_in_the_momentum_hinders_training_only(tmp_path):
  """As if it had changed on the disk: the arrays are not those of the sums."""
  state = small_states.state_of(6)
  momentum = jax.tree.map(lambda x: x + 1, state.opt_state)
  progress = checksums.add_checksums(
    small_states.progress_of(6),
    jax.device_get(serialization.to_state_dict(state)),
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(checksums, 'add_checksums', lambda *_: progress)
    patch.setattr(checksums, 'read', lambda *_: None)
    with small_states.open_manager(tmp_path) as manager:
      checkpoints.save(manager, state.replace(opt_state=momentum), {})
      checkpoints.wait(manager)
  assert small_states.weights_step(tmp_path) == 6
  with small_states.open_manager(tmp_path) as manager:
    history = progress['history'][1:]
    best = weights.restore_best(manager, small_states.state_of(0), history)
    assert int(best.step) == 6
    with pytest.raises(errors.UserError, match='opt_state/.* is not what was'):
      weights.resume(manager, small_states.state_of(0), {})

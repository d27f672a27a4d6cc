"""Where a run's weights come from, and which are refused."""

import jax
import numpy as np
import pytest
import small_jobs

from selfie_jax import errors
from selfie_jax.storage import checkpoints
from selfie_jax.storage import run_metadata
from selfie_jax.storage import weights
from selfie_jax.storage import workdir as workdir_lib
from selfie_jax.tasks import finetune
from selfie_jax.training import start


@pytest.mark.parametrize('name', ['resnet50', 'resnet36_attention'])
def test_shared_weights_and_statistics_are_copied_the_rest_is_new(
  finetune_config, finished, name, log_messages
):
  run = str(finished('pretrain'))
  source = weights.restore(run)
  finetune_config.model.name = name
  fresh = finetune.create_state(finetune_config, 10)
  finetune_config.init_from = run
  state = small_jobs.start_finetuning(finetune_config)
  new = {'block4', 'block4_norm', 'head'}
  for field in ('params', 'batch_stats'):
    given = source[field] | source[field]['patch_network']
    loaded = getattr(state, field)
    assert loaded.keys() == getattr(fresh, field).keys()
    for part in loaded:
      other = getattr(fresh, field) if part in new else given
      jax.tree.map(np.testing.assert_array_equal, loaded[part], other[part])
  copied = set(state.params) - new
  assert copied >= {'stem', 'block1', 'block2', 'block3'}
  assert ('attention_pooling' in copied) == (name == 'resnet36_attention')
  assert 'block1, block2, block3, ' in log_messages.text
  if name == 'resnet50':
    assert 'New: block4, block4_norm, head' in log_messages.text
    assert 'Not used by resnet50: ' in log_messages.text


def test_another_network_is_refused_with_both_values(finetune_config, finished):
  finetune_config.init_from = str(finished('pretrain'))
  finetune_config.model.width = 8
  finetune_config.normalise.mean = (0.5, 0.5, 0.5)  # of which no shape tells
  says = r'model\.width=8 \(pretrained: 4\), config.normalise.mean='
  with pytest.raises(errors.UserError, match=says):
    small_jobs.start_finetuning(finetune_config)


def test_init_from_must_be_a_pretraining_run_with_a_checkpoint(
  finetune_config, pretrain_config, tmp_path
):
  finetune_config.init_from = str(tmp_path)
  workdir = workdir_lib.run_path(tmp_path)
  for config, says in (
    (None, 'not a run'),
    (finetune_config, 'mode=finetune'),
    (pretrain_config, 'no checkpoint'),
  ):
    if config:
      run_metadata.save(config, {}, workdir)
    with pytest.raises(errors.UserError, match=says):
      small_jobs.start_finetuning(finetune_config)


def test_the_newest_checkpoint_comes_before_init_from(finished, tmp_path):
  """A run that is resumed needs its pretraining no more."""
  config = small_jobs.small_job('finetune')
  config.init_from = str(finished('pretrain'))
  workdir = workdir_lib.run_path(tmp_path / 'run')

  def begin(manager):
    return start.restore_or_create(finetune, config, 10, manager, {})

  with checkpoints.Manager(workdir, 1) as manager:
    state, progress, identity = begin(manager)
    assert progress is None and identity['start'].startswith('step 6, weights ')
    saved = state.replace(
      step=3, params=jax.tree.map(lambda x: x + 1, state.params)
    )
    progress = {'history': [], 'identity': identity}
    checkpoints.save(manager, saved, progress)
  config.init_from = str(tmp_path / 'gone')
  with checkpoints.Manager(workdir, 1) as manager:
    state, _, resumed = begin(manager)
  assert state.step == 3 and resumed == identity
  jax.tree.map(np.testing.assert_array_equal, state.params, saved.params)

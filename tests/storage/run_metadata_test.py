"""What a run was started with: which others may go on with it."""

from flax import traverse_util
import ml_collections
import pytest

from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import identity
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


def test_same_job_may_change_runtime_fields_only(pretrain_config, tmp_path):
  workdir = workdir_lib.run_path(tmp_path)
  run_metadata.check_config(pretrain_config, workdir)  # nothing there yet
  run_metadata.save(pretrain_config, {}, workdir)
  pretrain_config.log_every = 77
  pretrain_config.dataset.data_dir = '/elsewhere'
  pretrain_config.dataset.path = '/elsewhere'
  run_metadata.check_config(pretrain_config, workdir)
  pretrain_config.model.width = 8
  pretrain_config.optimizer.learning_rate = 0.3
  pretrain_config.total_steps += 1  # the rates depend on it
  with pytest.raises(errors.UserError) as caught:
    run_metadata.check_config(pretrain_config, workdir)
  assert 'model.width (4 -> 8)' in str(caught.value)
  assert 'optimizer.learning_rate (0.1 -> 0.3)' in str(caught.value)
  assert 'total_steps' in str(caught.value)
  assert 'log_every' not in str(caught.value)


def test_eval_every_decides_where_it_chooses_what_is_tested(
  finetune_config, pretrain_config, tmp_path
):
  """With a validation split; in runs of earlier versions too."""
  for config, decides in ((finetune_config, True), (pretrain_config, False)):
    assert bool(config.validation_fraction) == decides
    workdir = workdir_lib.run_path(tmp_path / config.mode)
    workdir.mkdir()
    run_metadata.save(config, {}, workdir)
    before = identity.identify(config, workdir)
    config.eval_every += 1
    assert (identity.identify(config, workdir) != before) == decides
    if decides:
      with pytest.raises(errors.UserError, match='another config: eval_every '):
        run_metadata.check_config(config, workdir)
    else:
      run_metadata.check_config(config, workdir)


def test_the_identity_does_not_change_with_the_version(
  pretrain_config, tmp_path
):
  """Nor with fields that decide no number."""
  workdir = workdir_lib.run_path(tmp_path)
  other = pretrain_config.copy_and_resolve_references()
  other.dataset.path, other.log_every = '/elsewhere', 7
  old = config_lib.flatten(pretrain_config) | run_metadata.RETIRED_FIELDS
  for field in run_metadata.DEFAULTS_FOR_OLD_RUNS:
    old.pop(field, None)
  old = ml_collections.ConfigDict(traverse_util.unflatten_dict(old, sep='.'))
  configs = pretrain_config, other, old
  digests = {identity.identify(x, workdir)['config'] for x in configs}
  assert len(digests) == 1
  other.seed = 1
  assert identity.identify(other, workdir)['config'] not in digests


@pytest.mark.parametrize('mode', ['pretrain', 'finetune'])
def test_a_config_of_an_older_version_has_all_fields(
  mode, pretrain_config, finetune_config, tmp_path
):
  """What draws or embeds with an older run's config reads the new ones too."""
  config = pretrain_config if mode == 'pretrain' else finetune_config
  older = config.to_dict()
  for field in run_metadata.DEFAULTS_FOR_OLD_RUNS:
    group, _, name = field.rpartition('.')
    if group != 'probe':
      del (older[group] if group else older)[name]
  older['puzzle'] = {'gap': 0, 'query': 'sum'}  # retired, and neutral
  workdir = workdir_lib.run_path(tmp_path)
  workdir_lib.write_json(workdir / 'config.json', older)
  assert config_lib.flatten(
    run_metadata.load_config(workdir)
  ) == config_lib.flatten(config)


@pytest.mark.parametrize(
  'field, value',
  [
    ('puzzle.gap', 2),
    ('optimizer.skip_nonfinite', 3),
    ('model.of_a_later_version', True),
    ('later_version', 'yes'),
  ],
)
def test_a_field_that_this_version_cannot_honour_is_refused(
  field, value, pretrain_config, tmp_path
):
  """A retired field at another value than the neutral one, or a later one."""
  workdir = workdir_lib.run_path(tmp_path)
  saved = pretrain_config.to_dict()
  group, _, name = field.rpartition('.')
  (saved.setdefault(group, {}) if group else saved)[name] = value
  workdir_lib.write_json(workdir / 'config.json', saved)
  for use in (
    lambda: run_metadata.check_config(pretrain_config, workdir),  # resumed
    lambda: run_metadata.load_config(workdir),  # embedded, finetuned from, ...
  ):
    with pytest.raises(errors.UserError, match=f'{field}={value}, which this'):
      use()


@pytest.mark.parametrize('text', ['', '{"mode": ', '[]', '{}', '{"mode": "x"}'])
def test_damaged_config_is_one_error(text, pretrain_config, tmp_path):
  workdir = workdir_lib.run_path(tmp_path)
  (workdir / 'config.json').write_text(text)
  with pytest.raises(errors.UserError, match='config.json is damaged'):
    run_metadata.check_config(pretrain_config, workdir)


def test_a_file_that_the_disk_cannot_read_is_none_that_is_not_there(
  pretrain_config, tmp_path, monkeypatch
):
  workdir = workdir_lib.run_path(tmp_path)
  (tmp_path / 'config.json').symlink_to('/proc/self/mem')
  monkeypatch.setattr(workdir_lib, 'PAUSES', (0.0, 0.0))
  with pytest.raises(errors.UserError, match='cannot be read.*Input/output'):
    run_metadata.check_config(pretrain_config, workdir)

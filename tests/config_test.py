"""Every job builds; every wrong value is named with what is valid."""

import importlib
import json
import pathlib

import pytest

from configs import common
from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import run_metadata

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The fields of version 0.1.0: of both modes, and of each alone.
FIRST_FIELDS = json.loads((ROOT / 'tests' / 'first_fields.json').read_text())
JOBS = sorted(path.stem for path in (ROOT / 'configs').glob('[!_]*_*.py'))


def get(job, variant=''):
  """The job, with the fields that its reader has to give."""
  config = importlib.import_module(f'configs.{job}').get_config(variant)
  if config.dataset.name == 'folder':
    config.dataset.path = 'photos'
  if config.mode == 'probe':
    config.init_from = 'runs/cifar_pretrain'
  return config


@pytest.mark.parametrize('variant', ['', 'small', 'tiny'])
@pytest.mark.parametrize('job', JOBS)
def test_job_is_valid(job, variant):
  config = get(job, variant)
  assert config.mode == job.split('_')[1]
  config_lib.check(config, num_devices=2)
  text = importlib.import_module(f'configs.{job}').__doc__
  assert f'python main.py --config=configs/{job}.py' in text


@pytest.mark.parametrize('variant', ['', 'small', 'tiny'])
@pytest.mark.parametrize('job', [j for j in JOBS if j.endswith('_pretrain')])
def test_finetuning_has_the_network_of_its_pretraining(job, variant):
  pretrain = config_lib.flatten(get(job, variant))
  job = job.replace('pretrain', 'finetune')
  finetune = config_lib.flatten(get(job, variant))
  shared = [
    field
    for field in pretrain
    if field.startswith(('model.', 'normalise.', 'image_size', 'patch_size'))
    and field not in ('model.name', 'model.logit_scale')
  ]
  assert len(shared) > 10
  for field in shared:
    assert pretrain[field] == finetune[field]


def test_every_field_has_a_comment():
  lines = (ROOT / 'configs' / 'common.py').read_text().splitlines()
  body = lines[lines.index('def _job(mode: str) -> ConfigDict:') :]
  for above, line in zip(body, body[1:], strict=False):
    is_group = line.endswith(('ConfigDict()', '_data(mode)'))
    if '. ' not in line and ' = ' in line and not is_group:
      assert above.strip().startswith('#'), line


WRONG = {
  'digits_pretrain': [
    ('mode', 'train', 'one of pretrain, finetune'),
    ('label_fraction', 1.5, r'in \(0, 1\]'),
    ('label_fraction', float('nan'), r'in \(0, 1\]'),
    ('validation_fraction', 1.0, r'in \[0, 1\)'),
    ('masked_fraction', 0.99, 'valid: 2 to 15 patches'),
    ('patch_size', 7, 'patch sizes that fit: 2, 4, 8, 16'),
    ('patch_size', 32, 'too few to mask two'),
    ('patch_size', 2, 'at least 4 with model.stem=patch4'),
    ('normalise.std', (0.2, 0.0, 0.2), 'three numbers above 0'),
    ('normalise.mean', (0.5, float('nan'), 0.5), 'three numbers'),
    ('batch_size', 33, 'a multiple of the 2 devices, such as 32'),
    ('total_steps', 0, 'at least 1'),
    ('knn.images', 4, r'in \[5, inf\)'),
    ('model.depths', (1.5, 1, 1, 1), 'four whole numbers'),
    ('model.attention.num_heads', 7, 'a divisor of the 64 channels'),
    ('dataset.name', 'folder', '--config.dataset.path='),
    ('dataset.path', 'photos', '--config.dataset.name=folder'),
    ('optimizer.warmup_steps', 12, 'less than total_steps=12'),
    ('augment.padding', 32, 'below image_size=32'),  # of a reflected border
  ],
  'digits_finetune': [('image_size', 2, 'at least 4 with model.stem=patch4')],
  'photos_pretrain': [('dataset.shuffle_block', 2, '1 with .*name=folder')],
  'cifar_probe': [
    ('init_from', '', 'runs/cifar_pretrain'),
    ('init_steps', (5, 5), 'each above 0 and once'),
    ('validation_fraction', 0.0, 'C is chosen on'),
    ('probe.strengths', (), 'one number or more'),
  ],
}


@pytest.mark.parametrize(
  'job, field, value, says',
  [(job, *row) for job, rows in WRONG.items() for row in rows],
)
def test_wrong_value_is_refused_in_one_line(job, field, value, says):
  config = get(job, 'tiny')
  with config.ignore_type():
    config.update_from_flattened_dict({field: value})
  with pytest.raises(errors.UserError, match=says) as caught:
    config_lib.check(config, num_devices=2)
  assert field.rpartition('.')[2] in str(caught.value)


def test_a_stem_sees_all_of_a_patch():
  config = get('digits_pretrain', 'tiny')
  config.image_size, config.patch_size = 42, 14
  with pytest.raises(errors.UserError, match='multiple of 4 with model.stem'):
    config_lib.check(config, num_devices=2)


@pytest.mark.parametrize('job', ['digits_pretrain', 'digits_finetune'])
def test_a_run_of_the_first_version_goes_on(job, tmp_path):
  """Fields that came later do as before; retired ones must be neutral."""
  config = get(job, 'tiny')
  saved = config_lib.flatten(config)
  first = {*FIRST_FIELDS['both'], *FIRST_FIELDS[config.mode]}
  later = run_metadata.DEFAULTS_FOR_OLD_RUNS
  assert saved.keys() - first == later.keys() & saved.keys()
  old = {k: v for k, v in saved.items() if k in first}
  assert not run_metadata.differences(old | run_metadata.RETIRED_FIELDS, saved)
  for field in later.keys() - set(run_metadata.RUNTIME_FIELDS):
    assert field in run_metadata.differences(old, saved | {field: 'another'})
  for field in run_metadata.RETIRED_FIELDS:
    assert field in run_metadata.differences(old | {field: 'another'}, saved)
  del old['seed']
  assert run_metadata.differences(old, saved) == {'seed': ('not there', 0)}


def test_every_field_has_a_rule_and_every_rule_a_field():
  jobs = (common.pretrain(), common.finetune(), common.probe())
  fields = set().union(*map(config_lib.flatten, jobs))
  assert fields == config_lib.FIELDS.keys()
  assert not fields & run_metadata.RETIRED_FIELDS.keys()

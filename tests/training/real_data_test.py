"""The paper's full-size jobs take a few steps on real images (slow).

Each test needs a set that tfds has prepared in TFDS_DATA_DIR.
"""

import os
import pathlib

import pytest

from configs import cifar_finetune
from configs import cifar_pretrain
from configs import imagenet32_finetune
from configs import imagenet32_pretrain
from configs import imagenet_finetune
from configs import imagenet_pretrain
from selfie_jax.training import train

pytestmark = pytest.mark.slow

JOBS = {  # with the split to test on, and the batch size
  'cifar10': (cifar_pretrain, cifar_finetune, 'test', 4),
  'tiny_imagenet/64x64_subset': (
    imagenet32_pretrain, imagenet32_finetune, 'validation', 4
  ),
  'imagenette224/subset': (
    imagenet_pretrain, imagenet_finetune, 'validation', 2
  ),
}  # fmt: skip


def shorten(config, name, test_split, batch_size):
  """Three steps at full width on a few of the images; all else as it is."""
  folder = os.environ.get('TFDS_DATA_DIR', '')
  if not folder or not (pathlib.Path(folder) / name).is_dir():
    pytest.skip(f'{name} is not in TFDS_DATA_DIR={folder!r}')
  config.dataset.name = name
  config.dataset.test_split = f'{test_split}[:{4 * batch_size}]'
  config.batch_size = config.eval_batch_size = batch_size
  config.total_steps = config.eval_every = config.checkpoint_every = 3
  config.log_every = 1
  config.optimizer.warmup_steps = 1
  config.optimizer.learning_rate = 0.01
  config.dtype = 'float32'
  return config


@pytest.mark.parametrize('name', JOBS)
def test_full_size_job_pretrains_and_both_networks_finetune(name, tmp_path):
  pretrain, finetune, test_split, batch_size = JOBS[name]
  config = shorten(pretrain.get_config(), name, test_split, batch_size)
  results = train.train_and_evaluate(config, tmp_path / 'pretrain')
  chance = 1 / 12 if config.image_size == 224 else 1 / 4
  assert results['metrics']['chance'] == pytest.approx(chance)
  for model in ('resnet50', 'resnet36_attention'):
    config = shorten(finetune.get_config(), name, test_split, batch_size)
    config.init_from = str(tmp_path / 'pretrain')
    config.model.name = model
    # All classes, with as few images to validate on as may be.
    config.validation_fraction = 0.01
    config.label_fraction = 0.1
    if name == 'cifar10':
      config.dataset.train_split = 'train[:1%]'
    results = train.train_and_evaluate(config, tmp_path / model)
    assert results['initialised_from'] == str(tmp_path / 'pretrain')

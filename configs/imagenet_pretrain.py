"""Selfie pretraining on ImageNet at 224x224 (paper, section 4.1).

python main.py --config=configs/imagenet_pretrain.py

The start of the Selfie rows of the paper's tables on ImageNet 224x224: 120,000
steps of 1024 images of 49 patches, 12 of them masked. The usual random-resized
crop: --config.augment.crop=random_resized. Time: not yet measured.

:small  CPUs, smaller and with an 8x8 stem: the step alone makes 112 images a
        second on one core of an AMD EPYC, 1,000 steps in ten minutes.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.pretrain()
  variants.use_imagenet(config)
  return variants.choose(
    config,
    variant,
    small={
      'model.stem': 'patch8',
      'batch_size': 64,
      'eval_batch_size': 250,
      'total_steps': 1_000,
      'eval_every': 250,
      'checkpoint_every': 250,
    },
    tiny={
      'model.stem': 'patch8',
      'batch_size': 8,
      'eval_batch_size': 100,
    },
  )

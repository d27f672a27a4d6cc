"""Selfie pretraining on ImageNet at 32x32 (paper, section 4.1).

python main.py --config=configs/imagenet32_pretrain.py

The start of the Selfie rows of the paper's tables on ImageNet 32x32: 120,000
steps of 1024 images. Time: not yet measured.

:small  CPUs: the step alone makes 355 images a second on one core of an AMD
        EPYC, 2,000 steps in a quarter of an hour.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.pretrain()
  variants.use_imagenet32(config)
  return variants.choose(
    config,
    variant,
    small={
      'eval_batch_size': 250,
      'total_steps': 2_000,
      'eval_every': 400,
      'checkpoint_every': 400,
    },
  )

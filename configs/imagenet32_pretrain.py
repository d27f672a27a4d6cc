"""Selfie pretraining on ImageNet at 32x32 (paper, section 4.1).

python main.py --config=configs/imagenet32_pretrain.py

The start of the Selfie rows of the paper's tables on ImageNet 32x32: 120,000
steps of 1024 images. Time: not yet measured.

:small  CPUs: the step alone makes 355 images a second on one core of an AMD
        EPYC, 2,000 steps in a quarter of an hour.
:tiny   seconds, to see that everything turns.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  variants.check_variant(variant, 'small', 'tiny')
  config = common.pretrain()
  variants.use_imagenet32(config)
  if variant == 'small':
    variants.make_small(config, stem='patch2')
    config.eval_batch_size = 250
    config.total_steps = 2_000
    config.eval_every = 400
    config.checkpoint_every = 400
  elif variant == 'tiny':
    variants.make_tiny(config)
  return config

"""Selfie pretraining on ImageNet at 32x32 (paper, section 4.1).

python main.py --config=configs/imagenet32_pretrain.py

The start of the Selfie rows of the paper's tables on ImageNet 32x32: 120,000
steps of 1024 images. Time: not yet measured.

:small  two CPU cores; time not yet measured.
:tiny   seconds, to see that everything turns.
"""

from configs import common


def get_config(variant: str = ''):
  common.check_variant(variant, 'small', 'tiny')
  config = common.pretrain()
  common.use_imagenet32(config)
  if variant == 'small':
    common.use_small_network(config, stem='patch2')
    config.eval_batch_size = 250
    config.total_steps = 2_000
    config.eval_every = 400
    config.checkpoint_every = 400
  elif variant == 'tiny':
    common.make_tiny(config)
  return config

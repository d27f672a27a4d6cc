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
    common.shrink_network(config, width=32, stem='patch4')
    config.batch_size = 256
    config.eval_batch_size = 250
    config.total_steps = 2_000
    config.eval_every = 400
    config.checkpoint_every = 400
    config.model.logit_scale = 'inverse_sqrt'
  elif variant == 'tiny':
    common.make_tiny(config)
  return config

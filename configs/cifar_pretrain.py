"""Selfie pretraining on CIFAR-10 (paper, section 4.1).

python main.py --config=configs/cifar_pretrain.py

The start of the Selfie rows of the paper's tables on CIFAR-10: 120,000 steps
of 512 images, ResNet-50's first three blocks. Time: not yet measured.

:small  50.7 % patch accuracy (chance 25 %) in 50 minutes on one CPU core of an
        AMD EPYC (220 images a second).
:tiny   seconds, to see that everything turns.
"""

from configs import common


def get_config(variant: str = ''):
  common.check_variant(variant, 'small', 'tiny')
  config = common.pretrain()
  if variant == 'small':
    common.shrink_network(config, width=24, stem='patch2')
    config.model.depths = (2, 2, 2, 2)
    config.model.closing_norm = False
    config.model.attention.dropout = 0.0
    config.model.logit_scale = 'inverse_sqrt'
    config.batch_size = 128
    config.total_steps = 5_000
    config.eval_every = 1_000
    config.checkpoint_every = 500
  elif variant == 'tiny':
    common.make_tiny(config)
  return config

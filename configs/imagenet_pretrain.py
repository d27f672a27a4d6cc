"""Selfie pretraining on ImageNet at 224x224 (paper, section 4.1).

python main.py --config=configs/imagenet_pretrain.py

The start of the Selfie rows of the paper's tables on ImageNet 224x224: 120,000
steps of 1024 images of 49 patches, 12 of them masked. The usual random-resized
crop: --config.augment.crop=random_resized. Time: not yet measured.

:small  two CPU cores, smaller and with an 8x8 stem; time not yet measured.
:tiny   seconds, to see that everything turns.
"""

from configs import common


def get_config(variant: str = ''):
  common.check_variant(variant, 'small', 'tiny')
  config = common.pretrain()
  common.use_imagenet(config)
  if variant == 'small':
    common.use_small_network(config, stem='patch8')
    config.batch_size = 64
    config.eval_batch_size = 250
    config.total_steps = 1_000
    config.eval_every = 250
    config.checkpoint_every = 250
  elif variant == 'tiny':
    common.make_tiny(config)
    config.model.stem = 'patch8'
    config.batch_size = 8
    config.eval_batch_size = 100
  return config

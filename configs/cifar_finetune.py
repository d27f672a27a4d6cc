"""Finetuning on few CIFAR-10 labels (paper, table 1).

python main.py --config=configs/cifar_finetune.py \
    --config.init_from=runs/cifar_pretrain

Without init_from it is the supervised baseline. Paper, ResNet-50 with 8 % of
the labels: 80.3 +- 0.3 % from Selfie, 79.3 +- 1.0 % supervised. Other rows:
--config.label_fraction=0.05, 0.2, 1.0; --config.model.name=resnet36_attention.
Time: not yet measured.

:small  with 8 % of the labels 70.8 +- 0.8 % from Selfie, 64.2 +- 0.7 %
        supervised, five seeds each, in eight minutes on one CPU core of an AMD
        EPYC.
:tiny   seconds, to see that everything turns.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  variants.check_variant(variant, 'small', 'tiny')
  config = common.finetune()
  if variant == 'small':
    variants.make_small(config, stem='patch2')
    config.total_steps = 1_500
    config.eval_every = 500
    config.checkpoint_every = 250
    config.optimizer.learning_rate = 0.3
  elif variant == 'tiny':
    variants.make_tiny(config)
  return config

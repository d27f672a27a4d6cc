"""Finetuning on few CIFAR-10 labels (paper, table 1).

python main.py --config=configs/cifar_finetune.py \
    --config.init_from=runs/cifar_pretrain

Without init_from it is the supervised baseline. Paper, ResNet-50 with 8 % of
the labels: 80.3 +- 0.3 % from Selfie, 79.3 +- 1.0 % supervised. Other rows:
--config.label_fraction=0.05, 0.2, 1.0; --config.model.name=resnet36_attention.
Time: not yet measured.

:small  with 8 % of the labels 64.2 +- 0.7 % supervised and 72.6 +- 0.2 % from
        docs/pretrained/cifar_small with --config.optimizer.learning_rate=0.1,
        five seeds each, in eight minutes on one CPU core of an AMD EPYC.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  return variants.choose(
    common.finetune(),
    variant,
    small={
      'total_steps': 1_500,
      'eval_every': 500,
      'checkpoint_every': 250,
      'optimizer.learning_rate': 0.3,
    },
  )

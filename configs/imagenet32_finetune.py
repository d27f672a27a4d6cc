"""Finetuning on few labels of ImageNet at 32x32 (paper, table 1).

python main.py --config=configs/imagenet32_finetune.py \
    --config.init_from=runs/imagenet32_pretrain

Without init_from it is the supervised baseline. Paper, ResNet-50 with 10 % of
the labels: 30.2 +- 0.5 % from Selfie, 25.9 +- 0.5 % supervised. Other rows:
--config.label_fraction=0.05, 0.2, 1.0. Time: not yet measured.

:small  CPUs: the step alone makes 397 images a second on one core of an AMD
        EPYC, 2,000 steps in a quarter of an hour.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.finetune()
  variants.use_imagenet32(config)
  config.label_fraction = 0.1
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

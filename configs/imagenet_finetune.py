"""Finetuning on few labels of ImageNet at 224x224 (paper, table 1).

python main.py --config=configs/imagenet_finetune.py \
    --config.init_from=runs/imagenet_pretrain

Without init_from it is the supervised baseline. Paper, ResNet-50 with 10 % of
the labels: 61.9 +- 0.2 % from Selfie, 59.6 +- 0.2 % supervised. Other rows:
--config.label_fraction=0.05, 0.2, 1.0; --config.model.name=resnet36_attention.
Time: not yet measured.

:small  CPUs, smaller and with an 8x8 stem: the step alone makes 111 images a
        second on one core of an AMD EPYC, 1,000 steps in ten minutes.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.finetune()
  variants.use_imagenet(config)
  config.label_fraction = 0.1
  config.augment.crop = 'random_resized'
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

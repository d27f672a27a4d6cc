"""Selfie pretraining on CIFAR-10 (paper, section 4.1).

python main.py --config=configs/cifar_pretrain.py

The start of the Selfie rows of the paper's tables on CIFAR-10: 120,000 steps
of 512 images, ResNet-50's first three blocks. Time: not yet measured.

:small  56.4 % patch accuracy (chance 25 %) in 96 minutes on one CPU core of an
        AMD EPYC (342 images a second).
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  return variants.choose(
    common.pretrain(),
    variant,
    small={
      'total_steps': 15_000,
      'eval_every': 1_000,
      'checkpoint_every': 500,
    },
  )

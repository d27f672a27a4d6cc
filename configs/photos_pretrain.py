"""Selfie pretraining on your own images; no labels needed.

python main.py --config=configs/photos_pretrain.py \
    --config.dataset.path=DIR

DIR is any folder of images, or a table FILE.csv; docs/own_images.md has the
steps from photos to a classifier. Time: not yet measured.

:small  CPUs, 64x64 pixels and a smaller network: half an hour on one core of an
        AMD EPYC.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.pretrain()
  variants.use_photos(config)
  config.total_steps = 20_000
  config.optimizer.warmup_steps = 500
  config.model.logit_scale = 'inverse_sqrt'
  return variants.choose(
    config,
    variant,
    small={
      'image_size': 64,
      'patch_size': 16,
      'model.stem': 'patch4',
      'total_steps': 4_000,
      'eval_every': 500,
      'checkpoint_every': 250,
      'optimizer.warmup_steps': 100,
    },
    tiny={'image_size': 32, 'patch_size': 8},
  )

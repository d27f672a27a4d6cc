"""Selfie pretraining on your own images; no labels needed.

python main.py --config=configs/photos_pretrain.py \
    --config.dataset.path=DIR

DIR is any folder of images, or a table FILE.csv; docs/own_images.md has the
steps from photos to a classifier. Time: not yet measured.

:small  CPUs, 64x64 pixels and a smaller network: half an hour on one core of an
        AMD EPYC.
:tiny   seconds, to see that everything turns.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  variants.check_variant(variant, 'small', 'tiny')
  config = common.pretrain()
  variants.use_photos(config, variant)
  config.total_steps = 20_000
  config.optimizer.warmup_steps = 500
  config.model.logit_scale = 'inverse_sqrt'
  if variant == 'small':
    config.total_steps = 4_000
    config.eval_every = 500
    config.checkpoint_every = 250
    config.optimizer.warmup_steps = 100
  elif variant == 'tiny':
    config.total_steps = 12
    config.optimizer.warmup_steps = 2
  return config

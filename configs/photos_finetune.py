"""Classify your own images from the few that you have labelled.

python main.py --config=configs/photos_finetune.py \
    --config.dataset.path=DIR --config.init_from=runs/photos_pretrain

DIR has train/CLASS/* and test/CLASS/*, or CLASS/*, or is a table FILE.csv; see
docs/own_images.md. Without init_from it is the supervised baseline. All labels
are used, a tenth of them to choose the checkpoint. Time: not yet measured.

:small  CPUs, 64x64 pixels and a smaller network: five minutes on one core of an
        AMD EPYC.
:tiny   seconds, to see that everything turns.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  variants.check_variant(variant, 'small', 'tiny')
  config = common.finetune()
  variants.use_photos(config, variant)
  config.label_fraction = 1.0
  config.total_steps = 2_000
  config.eval_every = 100
  config.checkpoint_every = 100
  if variant == 'small':
    config.total_steps = 600
    config.eval_every = 50
    config.checkpoint_every = 50
  elif variant == 'tiny':
    config.total_steps = 12
    config.eval_every = 6
    config.checkpoint_every = 6
  return config

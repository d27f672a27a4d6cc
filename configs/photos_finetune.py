"""Classify your own images from the few that you have labelled.

python main.py --config=configs/photos_finetune.py \
    --config.dataset.path=DIR --config.init_from=runs/photos_pretrain

DIR has train/CLASS/* and test/CLASS/*, or CLASS/*, or is a table FILE.csv; see
docs/own_images.md. Without init_from it is the supervised baseline. All labels
are used, a tenth of them to choose the checkpoint. Time: not yet measured.

:small  CPUs, 64x64 pixels and a smaller network: five minutes on one core of an
        AMD EPYC.
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.finetune()
  variants.use_photos(config)
  config.label_fraction = 1.0
  config.total_steps = 2_000
  config.eval_every = 100
  config.checkpoint_every = 100
  return variants.choose(
    config,
    variant,
    small={
      'image_size': 64,
      'patch_size': 16,
      'model.stem': 'patch4',
      'total_steps': 600,
      'eval_every': 50,
      'checkpoint_every': 50,
    },
    tiny={'image_size': 32, 'patch_size': 8},
  )

"""Classify digits from few labels, on two CPU cores in half a minute.

python main.py --config=configs/digits_finetune.py \
    --config.init_from=runs/digits_pretrain

Without init_from it is the supervised baseline.

:small  the same as no variant (the paper has no such setting).
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.finetune()
  config.dataset.name = 'digits'
  config.augment.flip = False  # a mirrored digit is no digit
  config.label_fraction = 0.1
  config.validation_fraction = 0.0  # 20 images cannot choose a checkpoint
  variants.shrink_network(config, width=16, stem='patch4')
  config.model.depths = (1, 1, 1, 1)  # compiles in seconds
  config.batch_size = 64
  config.total_steps = 300
  config.eval_every = 50
  config.checkpoint_every = 100
  config.log_every = 50
  config.eval_batch_size = 300
  return variants.choose(config, variant, tiny={'validation_fraction': 0.1})

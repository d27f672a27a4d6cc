"""Selfie pretraining on the 1,797 handwritten digits that come with
scikit-learn: nothing to download, two minutes on two CPU cores (60 %
patch accuracy, chance 25 %).

python main.py --config=configs/digits_pretrain.py

:small  the same as no variant (the paper has no such setting).
:tiny   a smoke test of seconds.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  config = common.pretrain()
  config.dataset.name = 'digits'
  config.augment.flip = False  # a mirrored digit is no digit
  variants.shrink_network(config, width=16, stem='patch4')
  config.model.depths = (1, 1, 1, 1)  # compiles in seconds
  config.model.logit_scale = 'inverse_sqrt'
  config.batch_size = 128
  config.total_steps = 600
  config.eval_every = 100
  config.checkpoint_every = 100
  config.log_every = 50
  config.eval_batch_size = 300
  return variants.choose(config, variant, tiny={'model.logit_scale': 'none'})

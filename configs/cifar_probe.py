"""Linear and nearest-neighbour probes of a run's features.

python main.py --config=configs/cifar_probe.py \
    --config.init_from=runs/cifar_pretrain

The network is that of init_from, so one file serves runs of every size and
--config.dataset.name serves the other data sets. The paper has no probes.
Time at full size: not yet measured.

:small  the same as no variant; for runs of cifar_pretrain.py:small. With 8 % of
        the labels three minutes on one CPU core of an AMD EPYC.
:tiny   a hundredth of the labels, a smoke test.
"""

from configs import common
from configs import variants


def get_config(variant: str = ''):
  return variants.choose(
    common.probe(),
    variant,
    tiny={
      'label_fraction': 0.01,
      'probe.strengths': (1e-3, 1e-1),
      'probe.max_iter': 50,
    },
  )

"""The accuracies that the paper publishes: tables 1 and 2, in percent.

Mean and standard deviation of five runs, for each of the fractions of
plan.EXPERIMENTS.
"""

from selfie_jax.experiments import plan as plan_lib

_SUPERVISED, _SELFIE = ('supervised', 'resnet50'), ('selfie', 'resnet50')
_ATTENTION = ('selfie', 'resnet36_attention')
_TABLES = {
  'cifar_labels': {
    _SUPERVISED: '75.9 ± 0.7, 79.3 ± 1.0, 88.3 ± 0.3, 95.5 ± 0.2',
    _SELFIE: '75.9 ± 0.4, 80.3 ± 0.3, 89.1 ± 0.5, 95.7 ± 0.1',
  },
  'imagenet32_labels': {
    _SUPERVISED: '13.1 ± 0.8, 25.9 ± 0.5, 32.7 ± 0.4, 55.7 ± 0.6',
    _SELFIE: '18.3 ± 0.1, 30.2 ± 0.5, 33.5 ± 0.2, 56.4 ± 0.6',
  },
  'imagenet_labels': {
    _SUPERVISED: '35.6 ± 0.7, 59.6 ± 0.2, 65.7 ± 0.2, 76.9 ± 0.2',
    _SELFIE: '46.7 ± 0.4, 61.9 ± 0.2, 67.1 ± 0.2, 77.0 ± 0.1',
  },
  'cifar_attention': {
    _SELFIE: '80.3 ± 0.3, 95.7 ± 0.1',
    _ATTENTION: '81.3 ± 0.1, 95.4 ± 0.2',
  },
  # Table 2 has 61.8 where table 1 has 61.9.
  'imagenet_attention': {
    _SELFIE: '61.8 ± 0.2, 77.0 ± 0.1',
    _ATTENTION: '62.1 ± 0.2, 77.5 ± 0.1',
  },
}


def published(experiment: str) -> dict[tuple, tuple[float, float]]:
  """{(arm, network, fraction): (mean, standard deviation)}."""
  found = {}
  for group, row in _TABLES.get(experiment, {}).items():
    shares = plan_lib.EXPERIMENTS[experiment].fractions
    for share, text in zip(shares, row.split(', '), strict=True):
      found[*group, share] = tuple(map(float, text.split(' ± ')))
  return found

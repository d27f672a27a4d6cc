"""The accuracies that the paper publishes: tables 1 and 2, in percent.

Keys are (arm, network, label fraction), values (mean, standard deviation) of
five runs.
"""

Published = dict[tuple[str, str, float], tuple[float, float]]


def _rows(network: str, **rows: dict[float, tuple[float, float]]) -> Published:
  return {
    (arm, network, fraction): value
    for arm, values in rows.items()
    for fraction, value in values.items()
  }


PUBLISHED: dict[str, Published] = {
  'cifar_labels': _rows(
    'resnet50',
    supervised={
      0.05: (75.9, 0.7),
      0.08: (79.3, 1.0),
      0.2: (88.3, 0.3),
      1.0: (95.5, 0.2),
    },
    selfie={
      0.05: (75.9, 0.4),
      0.08: (80.3, 0.3),
      0.2: (89.1, 0.5),
      1.0: (95.7, 0.1),
    },
  ),
  'imagenet32_labels': _rows(
    'resnet50',
    supervised={
      0.05: (13.1, 0.8),
      0.1: (25.9, 0.5),
      0.2: (32.7, 0.4),
      1.0: (55.7, 0.6),
    },
    selfie={
      0.05: (18.3, 0.1),
      0.1: (30.2, 0.5),
      0.2: (33.5, 0.2),
      1.0: (56.4, 0.6),
    },
  ),
  'imagenet_labels': _rows(
    'resnet50',
    supervised={
      0.05: (35.6, 0.7),
      0.1: (59.6, 0.2),
      0.2: (65.7, 0.2),
      1.0: (76.9, 0.2),
    },
    selfie={
      0.05: (46.7, 0.4),
      0.1: (61.9, 0.2),
      0.2: (67.1, 0.2),
      1.0: (77.0, 0.1),
    },
  ),
  'cifar_attention': (
    _rows('resnet50', selfie={0.08: (80.3, 0.3), 1.0: (95.7, 0.1)})
    | _rows('resnet36_attention', selfie={0.08: (81.3, 0.1), 1.0: (95.4, 0.2)})
  ),
  # Table 2 has 61.8 where table 1 has 61.9.
  'imagenet_attention': (
    _rows('resnet50', selfie={0.1: (61.8, 0.2), 1.0: (77.0, 0.1)})
    | _rows('resnet36_attention', selfie={0.1: (62.1, 0.2), 1.0: (77.5, 0.1)})
  ),
  'cifar_ablations': {},
}

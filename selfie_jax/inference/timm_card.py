"""A run's network in timm: its settings, and the Python that loads it."""

from typing import Any

import ml_collections

from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.models import resnet


def settings(
  config: ml_collections.ConfigDict, class_names: list[str] | None
) -> dict[str, Any]:
  """What timm keeps in config.json; `class_names` is None for a pretraining.

  Raises:
    UserError: timm has no such network.
  """
  width, wrong = config.model.width, ''
  if config.model.name == 'resnet36_attention':
    wrong = 'with attention pooling'
  elif width % 8:
    wrong = f'of model.width={width}, only of multiples of 8'
  if wrong:
    raise errors.UserError(
      f'timm has no network {wrong}; export it with --format=stablehlo or '
      '--format=numpy'
    )
  blocks = 3 if class_names is None else 4
  channels = [width * resnet.EXPANSION * 2**i for i in range(blocks)]
  arguments = {'layers': list(config.model.depths[:blocks])}
  if width != 64:
    arguments |= {'stem_chs': width, 'channels': channels}
  cropped = config.augment.crop == 'random_resized'
  names = class_names or []
  return {
    'architecture': 'resnetv2_50',
    'num_classes': len(names),
    'num_features': channels[-1],
    'model_args': arguments,
    'pretrained_cfg': {
      'input_size': [3, config.image_size, config.image_size],
      'mean': list(config.normalise.mean),
      'std': list(config.normalise.std),
      'interpolation': 'bilinear',
      'crop_pct': augment.CENTRAL_SHARE if cropped else 1.0,
      'crop_mode': 'center' if cropped else 'squash',
      'num_classes': len(names),
      'label_names': names,
      'first_conv': 'stem.conv',
      'classifier': 'head.fc',
    },
  }


def usage(config: ml_collections.ConfigDict, described: dict[str, Any]) -> str:
  """The README's lines on model.safetensors; `described` by `settings`."""
  arguments = ''.join(f', {k}={v}' for k, v in described['model_args'].items())
  size, card, changes = config.image_size, described['pretrained_cfg'], ''
  if (stem := config.model.stem) != 'conv7_pool':
    (side, stride, padding), width = resnet.STEMS[stem], config.model.width
    changes = f"""\
model.stem.conv = torch.nn.Conv2d(
  3, {width}, {side}, stride={stride}, padding={padding}, bias=False
)
model.stem.pool = torch.nn.Identity()
"""
  if config.mode == 'pretrain' and not config.model.closing_norm:
    changes += 'model.norm = torch.nn.Identity()\n'
  from_folder = """
`timm.create_model('local-dir:DIR', pretrained=True)` with this folder as DIR
makes the same network.
"""
  return f"""\
`model.safetensors` has the weights of
[timm](https://github.com/huggingface/pytorch-image-models)'s `resnetv2_50`,
`config.json` its settings. With `pip install timm safetensors`, in this folder:

```python
import safetensors.torch
import timm
import torch

model = timm.create_model(
  'resnetv2_50', num_classes={described['num_classes']}{arguments}
)
{changes}safetensors.torch.load_model(model, 'model.safetensors', strict=True)
model.eval()


def run(images):  # uint8 [n, {size}, {size}, 3], as a torch.Tensor
  x = images.permute(0, 3, 1, 2).float() / 255
  mean, std = torch.tensor({card['mean']}), torch.tensor({card['std']})
  with torch.no_grad():
    return model((x - mean[:, None, None]) / std[:, None, None])
```
{'' if changes else from_folder}"""

"""Writes a run's network for use without this code.

python -m selfie_jax.export --checkpoint=RUN --format=timm --out=DIR

timm       safetensors for PyTorch, by the names of timm's resnetv2_50.
stablehlo  the compiled network, which runs with jax alone.
numpy      all parameters as plain arrays.

Each comes with a README.md that says how to use it.
"""

import argparse
import json
import os
import pathlib
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before TensorFlow loads

from absl import logging as absl_logging
from flax import traverse_util
import jax
from jax import export as jax_export
import ml_collections
import numpy as np

from selfie_jax import augment
from selfie_jax import errors
from selfie_jax import inference
from selfie_jax import resnet
from selfie_jax import timm_names

PLATFORMS = ('cpu', 'cuda', 'tpu')


def main() -> None:
  parser = argparse.ArgumentParser(
    prog='python -m selfie_jax.export', description=__doc__.splitlines()[0]
  )
  add = parser.add_argument
  add('--checkpoint', required=True, metavar='RUN', help="a run's folder")
  add('--format', required=True, choices=_FORMATS)
  add('--out', required=True, metavar='DIR', help='a new folder')
  args = parser.parse_args()
  absl_logging.set_verbosity(absl_logging.FATAL)
  with errors.one_line():
    for path in export(args.checkpoint, args.format, args.out):
      print(f'{path} ({path.stat().st_size / 1e6:.1f} MB)')


def export(run: str, kind: str, out: str) -> list[pathlib.Path]:
  """Writes a run's network into a new folder.

  Args:
    run: the run's folder.
    kind: 'timm', 'stablehlo' or 'numpy'.
    out: the folder; it must be empty if it is there.

  Returns:
    The files.

  Raises:
    UserError: `run` is not a run, its network has no such format, or `out` is
      not empty or cannot be made.
  """
  folder = pathlib.Path(out)
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise errors.UserError(
      f'{out} is there and not empty; give a new folder with --out=DIR'
    )
  model = inference.load(run)
  write, check = _FORMATS[kind], _CHECKS.get(kind)
  if check:
    check(model)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    usage = write(model, folder)
    (folder / 'README.md').write_text(_card(model, kind, usage))
  except OSError as error:
    raise errors.UserError(
      f'{out} cannot be written ({error.strerror}); give another --out=DIR'
    ) from error
  return sorted(folder.iterdir())


def timm_config(model: inference.Model) -> dict[str, Any]:
  """What timm keeps in config.json, with the arguments of its network.

  Raises:
    UserError: timm has no such network.
  """
  config, blocks = model.config, _blocks(model)
  if config.model.name == 'resnet36_attention':
    raise errors.UserError(
      'timm has no network with attention pooling; export it with '
      '--format=stablehlo or --format=numpy'
    )
  width = config.model.width
  if width % 8:
    raise errors.UserError(
      f'timm makes no network of model.width={width}, only of multiples of 8; '
      'export it with --format=stablehlo or --format=numpy'
    )
  size, classes = config.image_size, model.class_names or []
  cropped = config.augment.crop == 'random_resized'
  arguments = {'layers': list(config.model.depths[:blocks])}
  if width != 64:
    arguments |= {
      'stem_chs': width,
      'channels': [width * resnet.EXPANSION * 2**i for i in range(blocks)],
    }
  return {
    'architecture': 'resnetv2_50',
    'num_classes': len(classes),
    'num_features': width * resnet.EXPANSION * 2 ** (blocks - 1),
    'model_args': arguments,
    'pretrained_cfg': {
      'input_size': [3, size, size],
      'mean': list(config.normalise.mean),
      'std': list(config.normalise.std),
      'interpolation': 'bilinear',
      'crop_pct': augment.CENTRAL_SHARE if cropped else 1.0,
      'crop_mode': 'center' if cropped else 'squash',
      'num_classes': len(classes),
      'label_names': classes,
      'first_conv': 'stem.conv',
      'classifier': 'head.fc',
    },
  }


def _blocks(model: inference.Model) -> int:
  return 4 if model.config.model.name == 'resnet50' else 3


def _timm(model: inference.Model, folder: pathlib.Path) -> str:
  config = timm_config(model)
  (folder / 'config.json').write_text(json.dumps(config, indent=2) + '\n')
  weights = {k: v.get('patch_network', v) for k, v in model.variables.items()}
  timm_names.write(str(folder / 'model.safetensors'), **weights)
  arguments = ''.join(
    f', {name}={value}' for name, value in config['model_args'].items()
  )
  mean, std = (config['pretrained_cfg'][k] for k in ('mean', 'std'))
  return f"""\
`model.safetensors` has the weights by the names of
[timm](https://github.com/huggingface/pytorch-image-models)'s `resnetv2_50`,
`config.json` what timm wants to know of them. In this folder, with
`pip install timm safetensors`:

```python
import safetensors.torch
import timm
import torch

model = timm.create_model(
  'resnetv2_50', num_classes={config['num_classes']}{arguments}
)
{_timm_changes(model.config, _blocks(model))}\
safetensors.torch.load_model(model, 'model.safetensors', strict=True)
model.eval()


def run(images):  # uint8 [n, {model.config.image_size}, \
{model.config.image_size}, 3], as a torch.Tensor
  x = images.permute(0, 3, 1, 2).float() / 255
  mean, std = torch.tensor({mean}), torch.tensor({std})
  with torch.no_grad():
    return model((x - mean[:, None, None]) / std[:, None, None])
```

`run` gives {_output(model)}.
"""


def _timm_changes(config: ml_collections.ConfigDict, blocks: int) -> str:
  """The lines that make timm's network ours."""
  size, stride, padding = resnet.STEMS[config.model.stem]
  lines = ''
  if config.model.stem != 'conv7_pool':
    lines += (
      f'model.stem.conv = torch.nn.Conv2d(\n  3, {config.model.width}, {size}, '
      f'stride={stride}, padding={padding}, bias=False\n)\n'
      'model.stem.pool = torch.nn.Identity()\n'
    )
  if blocks == 3 and not config.model.closing_norm:
    lines += 'model.norm = torch.nn.Identity()\n'
  return lines


def _stablehlo(model: inference.Model, folder: pathlib.Path) -> str:
  config = model.config
  name = 'block3' if config.mode == 'pretrain' else 'logits'

  def forward(images: jax.Array) -> jax.Array:
    variables = jax.tree.map(np.asarray, model.variables)
    return inference.outputs(config, variables, images, (name,))[name]

  side = config.image_size
  shape = jax_export.symbolic_shape(f'batch, {side}, {side}, 3')
  exported = jax_export.export(jax.jit(forward), platforms=PLATFORMS)(
    jax.ShapeDtypeStruct(shape, np.uint8)
  )
  (folder / 'forward.bin').write_bytes(exported.serialize())
  return f"""\
`forward.bin` is the network as StableHLO, for {', '.join(PLATFORMS)} and any
number of images. With `pip install jax flatbuffers`, in this folder:

```python
import pathlib

from jax import export

forward = export.deserialize(pathlib.Path('forward.bin').read_bytes()).call
```

`forward(images)` takes uint8 [n, {side}, {side}, 3] and gives
{_output(model)}. It was written with jax {jax.__version__}; jax reads such
files for at least six months of later versions.
"""


def _numpy(model: inference.Model, folder: pathlib.Path) -> str:
  arrays = {
    name: np.asarray(value)
    for name, value in traverse_util.flatten_dict(
      model.variables, sep='/'
    ).items()
  }
  np.savez(folder / 'weights.npz', **arrays)
  listed = '\n'.join(
    f'| {name} | {" x ".join(map(str, value.shape))} |'
    for name, value in arrays.items()
  )
  return f"""\
`weights.npz` has the parameters and BatchNorm's running statistics, float32;
kernels are [height, width, in, out]:

```python
import numpy as np

weights = np.load('weights.npz')
```

| name | shape |
|---|---|
{listed}
"""


def _card(model: inference.Model, kind: str, usage: str) -> str:
  """README.md of an exported network."""
  config = model.config
  size = config.image_size
  if config.augment.crop == 'random_resized':
    fitted = (
      f'cut out the central square of {augment.CENTRAL_SHARE:.1%} of the '
      f'shorter side and resize it to {size}x{size}'
    )
  else:
    fitted = f'resize the whole image to {size}x{size}, whatever its shape'
  lines = [
    f'# {config.model.name} ({kind})\n',
    'Trained with Selfie (self-supervised pretraining for image embedding, '
    '[arXiv 1906.02940](https://arxiv.org/abs/1906.02940)).\n',
    usage,
    '## Images\n',
    f'{fitted[0].upper()}{fitted[1:]} (bilinear, antialiased). Values in '
    '0 to 1 are normalised with\n',
    f'- mean {tuple(config.normalise.mean)}',
    f'- deviation {tuple(config.normalise.std)}'
    + (' (forward.bin does that itself)' if kind == 'stablehlo' else ''),
    '\n## Network\n',
    f'- {config.mode}ed on {config.dataset.name}'.replace('eed', 'ed'),
    f'- stem {config.model.stem}, width {config.model.width}, depths '
    f'{tuple(config.model.depths[: _blocks(model)])}',
  ]
  if model.class_names:
    lines += [
      f'- {len(model.class_names)} classes, in this order: '
      + ', '.join(model.class_names)
    ]
  return '\n'.join(lines) + '\n'


def _output(model: inference.Model) -> str:
  if model.class_names:
    return f'logits, float32 [n, {len(model.class_names)}]'
  dim = model.config.model.width * 16
  return f'embeddings (block 3, average pooled), float32 [n, {dim}]'


_FORMATS = {'timm': _timm, 'stablehlo': _stablehlo, 'numpy': _numpy}
# Asked before anything is written.
_CHECKS = {'timm': timm_config}


if __name__ == '__main__':
  main()

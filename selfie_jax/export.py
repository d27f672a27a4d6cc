"""Writes a run's network for use without this code.

python -m selfie_jax.export --checkpoint=RUN --format=timm --out=DIR

timm       safetensors for PyTorch, by the names of timm's resnetv2_50.
stablehlo  the compiled network, which runs with jax alone.
numpy      all parameters as plain arrays.
run        the run itself without the optimizer's state, to be shared.

Each comes with a README.md that says how to use it.
"""

import json
import pathlib
import secrets
import shutil

from flax import traverse_util
import jax
from jax import export as jax_export
import numpy as np
import safetensors

from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.data import augment
from selfie_jax.inference import model as model_lib
from selfie_jax.inference import timm_card
from selfie_jax.models import features
from selfie_jax.storage import checkpoints
from selfie_jax.storage import timm_weights
from selfie_jax.storage import workdir as workdir_lib

PLATFORMS = ('cpu', 'cuda', 'tpu')


def main() -> None:
  parser = command_line.Parser('export', __doc__)
  parser.add_path('--checkpoint', 'RUN', "a run's folder")
  parser.add_argument('--format', required=True, choices=[*_FORMATS, 'run'])
  parser.add_path('--out', 'DIR', 'a new folder')
  command_line.silence_libraries()
  with command_line.exit_cleanly():
    args = parser.parse_args()
    command_line.start_jax()
    for written in export(args.checkpoint, args.format, args.out):
      files = [f for f in [written, *written.rglob('*')] if f.is_file()]
      size = sum(file.stat().st_size for file in files)
      print(f'{written} ({size / 1e6:.1f} MB)')


def export(run: str, kind: str, out: str) -> list[pathlib.Path]:
  """Writes a run's network into a new folder; all of it or nothing.

  Args:
    run: the run's folder.
    kind: 'timm', 'stablehlo', 'numpy' or 'run'.
    out: the folder; it may be there if it is empty. What it then has in it is
      returned.

  Raises:
    UserError: `run` is not a run, its network has no such format, or `out` is
      not empty or cannot be written.
  """
  if '://' in str(out):
    raise errors.UserError(
      f'{out} is no folder of this machine; give one with --out=DIR, and copy '
      'it to the bucket'
    )
  folder = pathlib.Path(out)
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise errors.UserError(
      f'{out} exists and is not empty; give a new folder with --out=DIR'
    )
  model = model_lib.load(run)
  # Beside it, so that it is whole or not there, and nobody else's.
  partial = pathlib.Path(f'{folder.resolve()}.{secrets.token_hex(4)}.partial')
  try:
    partial.mkdir(parents=True)
    if kind == 'run':
      usage = _copy_run(model, partial, run)
    else:
      usage = _FORMATS[kind](model, partial)
    _write_text(partial / 'README.md', _card(model, kind, usage))
    partial.rename(folder)
  except BaseException as error:
    shutil.rmtree(partial, ignore_errors=True)
    if not isinstance(error, (OSError, safetensors.SafetensorError)):
      raise
    raise errors.UserError(
      f'{out} cannot be written ({errors.reason(error)}); free disk space, or '
      'give another --out=DIR'
    ) from error
  return sorted(folder.iterdir())


def _write_text(path: pathlib.Path, text: str) -> None:
  """Writes UTF-8 whatever the locale; a name may have other bytes."""
  path.write_text(text, encoding='utf-8', errors='backslashreplace')


def _timm(model: model_lib.Model, folder: pathlib.Path) -> str:
  settings = timm_card.settings(model.config, model.class_names)
  weights = {k: v.get('patch_network', v) for k, v in model.variables.items()}
  timm_weights.write(str(folder / 'model.safetensors'), **weights)
  (folder / 'config.json').write_text(json.dumps(settings, indent=2) + '\n')
  output = _output(model, 'block3', 16 * model.config.model.width)
  usage = timm_card.usage(model.config, settings)
  return f'{usage}\n`run` gives {output}.\n'


def _stablehlo(model: model_lib.Model, folder: pathlib.Path) -> str:
  config = model.config
  name = 'logits' if model.class_names else model.layers[0]

  def forward(images: jax.Array) -> jax.Array:
    variables = jax.tree.map(np.asarray, model.variables)
    return features.outputs(config, variables, images, (name,))[name]

  side = config.image_size
  shape = jax_export.symbolic_shape(f'batch, {side}, {side}, 3')
  export_on = jax_export.export(jax.jit(forward), platforms=PLATFORMS)
  with model_lib.in_float32():
    exported = export_on(jax.ShapeDtypeStruct(shape, np.uint8))
  (folder / 'forward.bin').write_bytes(exported.serialize())
  output = _output(model, name, exported.out_avals[0].shape[1])
  return f"""\
`forward.bin` is the network as StableHLO, for {', '.join(PLATFORMS)}. With
`pip install jax flatbuffers`, in this folder:

```python
import pathlib

from jax import export

forward = export.deserialize(pathlib.Path('forward.bin').read_bytes()).call
```

`forward(images)` takes uint8 [n, {side}, {side}, 3], normalises them and gives
{output}. It was written with jax {jax.__version__}; later versions
read it for at least six months.
"""


def _numpy(model: model_lib.Model, folder: pathlib.Path) -> str:
  arrays = traverse_util.flatten_dict(model.variables, sep='/')
  np.savez(folder / 'weights.npz', **arrays)
  return f"""\
`numpy.load('weights.npz')` has the parameters and BatchNorm's running
statistics, float32, by names such as `{next(iter(arrays))}`; kernels are
[height, width, in, out].
"""


def _copy_run(model: model_lib.Model, folder: pathlib.Path, run: str) -> str:
  for name in _OF_A_RUN:
    if text := workdir_lib.read_text(workdir_lib.run_path(run) / name):
      _write_text(folder / name, text)
  with checkpoints.Manager(workdir_lib.run_path(folder), 1) as manager:
    checkpoints.save(manager, model.variables | {'step': model.step}, {})
    checkpoints.wait(manager)
  return """\
This folder is a run without the state of its optimizer: all commands,
`selfie_jax.load` and `--config.init_from` take it, but it cannot be resumed.
"""


def _card(model: model_lib.Model, kind: str, usage: str) -> str:
  """README.md of an exported network."""
  config, size = model.config, model.config.image_size
  trained = 'Finetuned' if model.class_names else 'Pretrained without labels'
  part = 'the whole image'
  if config.augment.crop == 'random_resized':
    share = f'{augment.CENTRAL_SHARE:.1%}'
    part = f'the central square of {share} of the shorter side'
  text = f"""\
# {config.model.name} ({kind})

{trained} on {config_lib.name_data(config)}, by an implementation of Selfie
([arXiv 1906.02940](https://arxiv.org/abs/1906.02940)).

{usage}
## Images

Resize {part} to {size}x{size} (bilinear, antialiased).
Values in 0 to 1 are normalised with mean {tuple(config.normalise.mean)} and
deviation {tuple(config.normalise.std)}.
"""
  if model.class_names:
    names = (f'{i}. {name}\n' for i, name in enumerate(model.class_names))
    text += '\n## Classes\n\n' + ''.join(names)
  return text


def _output(model: model_lib.Model, layer: str, dim: int) -> str:
  """What the exported function gives; without classes a layer."""
  if model.class_names:
    return f'logits, float32 [n, {len(model.class_names)}]'
  return f'embeddings (layer {layer}), float32 [n, {dim}]'


_OF_A_RUN = (
  'config.json', 'data.json', 'run.json', 'history.json', 'results.json',
)  # fmt: skip
_FORMATS = {'timm': _timm, 'stablehlo': _stablehlo, 'numpy': _numpy}


if __name__ == '__main__':
  main()

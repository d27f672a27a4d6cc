"""A trained run, ready for use: embeddings and predictions of any images."""

from collections.abc import Sequence
import functools
import itertools
import logging
import os
from typing import Any

import jax
import ml_collections
import numpy as np

from selfie_jax import config as config_lib
from selfie_jax import distributed
from selfie_jax import errors
from selfie_jax.inference import images as images_lib
from selfie_jax.models import build
from selfie_jax.models import features
from selfie_jax.storage import identity as identity_lib
from selfie_jax.storage import run_metadata
from selfie_jax.storage import weights as weights_lib
from selfie_jax.storage import workdir as workdir_lib

logger = logging.getLogger(__name__)

BATCH_SIZE = 64

# Products of float32 numbers; a TPU's default has the bits of bfloat16.
in_float32 = functools.partial(jax.default_matmul_precision, 'highest')
# Compiled once for all models of a config.
_outputs = jax.jit(features.outputs, static_argnames=('config', 'names'))
_attention_weights = jax.jit(features.attention_weights, static_argnums=0)


class Model:
  """A trained network, as `load` returns it.

  BatchNorm uses its running statistics, dropout is off, and all is computed in
  float32.

  Attributes:
    config: the run's.
    variables: {'params': ..., 'batch_stats': ...}.
    layers: valid names for `embed`, the default first.
    class_names: one string for each class; None for a pretraining run.
    step: how many steps of training the network has had.
    batch_size: images that go through the network at a time.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    variables: dict[str, Any],
    class_names: list[str] | None,
    batch_size: int = BATCH_SIZE,
    step: int = 0,
  ):
    if batch_size < 1:
      errors.invalid(f'batch_size={batch_size}', 'at least 1')
    self.config = config.copy_and_resolve_references()
    self.config.dtype = 'float32'
    self.variables = variables
    self.class_names = class_names
    self.step = step
    self.layers = features.LAYERS[config.model.name]
    devices = jax.local_devices()
    self.batch_size = -(-batch_size // len(devices)) * len(devices)
    self._split = distributed.local_sharding(build.AXIS)
    self._variables = jax.device_put(variables, distributed.local_sharding())
    self._static_config = ml_collections.FrozenConfigDict(self.config)

  def __repr__(self) -> str:
    default, *others = self.layers
    return (
      f'<{self.config.model.name} of {config_lib.name_data(self.config)}, '
      f'step {self.step}; embeds {default} (default), {", ".join(others)}>'
    )

  def embed(self, images: Any, layer: str | None = None) -> np.ndarray:
    """One vector for each image: float32 [n, dim].

    Args:
      images: uint8 [n, h, w, 3] or [h, w, 3], a path, a PIL image, or any
        number of the latter three, in a list or a generator. Any sizes; they
        are resized as evaluation in training does it.
      layer: one of `layers`; docs/using.md says what each of them is.

    Raises:
      UserError: no such layer, no image, or an image that is not valid.
    """
    name = self.check_layer(layer)
    return self.compute(images, (name,))[name]

  def predict(self, images: Any) -> np.ndarray:
    """Probabilities of the classes, of images as in `embed`.

    Returns:
      float32 [n, classes].

    Raises:
      UserError: this is a pretraining run, there is no image, or one is not
        valid.
    """
    self.check_predicts()
    return self.compute(images, ('probabilities',))['probabilities']

  def attention_weights(self, images: np.ndarray) -> np.ndarray:
    """Attention of u0, float32 [n, heads, 1 + positions], in one batch.

    Args:
      images: uint8 [n, s, s, 3] of the run's size.

    Raises:
      UserError: the network has no attention pooling.
    """
    if 'attention' not in self.layers:
      raise errors.UserError(
        f'model.name={self.config.model.name} has no attention pooling; give a '
        'pretraining run, or one with --config.model.name=resnet36_attention'
      )
    with in_float32():
      weights = _attention_weights(self._static_config, self.variables, images)
    return np.asarray(weights)

  def compute(self, images: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Several of the layers, 'logits' and 'probabilities' in one pass."""
    each = images_lib.each(images, self.config)
    rows = []
    while batch := list(itertools.islice(each, self.batch_size)):
      rows.append(self.compute_batch(batch, names))
    if not rows:
      raise errors.UserError('there is no image; give at least one')
    return {name: np.concatenate([row[name] for row in rows]) for name in names}

  def compute_batch(
    self, images: np.ndarray | Sequence[np.ndarray], names: Sequence[str]
  ) -> dict[str, np.ndarray]:
    """As `compute`, of up to batch_size images of the run's size."""
    side = self.config.image_size
    batch = np.zeros((self.batch_size, side, side, 3), np.uint8)
    batch[: len(images)] = images
    batch = jax.device_put(batch, self._split)
    with in_float32():
      outputs = _outputs(
        self._static_config, self._variables, batch, tuple(names)
      )
    return {k: np.asarray(v)[: len(images)] for k, v in outputs.items()}

  def check_layer(self, layer: str | None) -> str:
    """The layer's name, the default's for None; UserError if there is none."""
    if layer not in (None, *self.layers):
      of = f' of model.name={self.config.model.name}'
      errors.invalid(f'layer={layer!r}{of}', f'one of {", ".join(self.layers)}')
    return layer or self.layers[0]

  def check_predicts(self) -> None:
    """Raises UserError for a pretraining run."""
    if self.class_names is None:
      raise errors.UserError(
        'a pretraining run knows no classes; finetune it first: python main.py '
        '--config=configs/cifar_finetune.py --config.init_from=RUN'
      )


def load(
  run: str | os.PathLike[str], batch_size: int = BATCH_SIZE, step: int = -1
) -> Model:
  """Opens a run of pretraining or finetuning.

  Args:
    run: its folder.
    batch_size: images that go through the network at a time, rounded up to a
      multiple of the local devices.
    step: of the checkpoint; -1 for that of the run's results, or the newest
      before its end.

  Raises:
    UserError: `run` is not a run, or has no checkpoint (of that step) that can
      be read.
  """
  workdir = workdir_lib.run_path(run)
  config = identity_lib.load_config(workdir)
  if config is None:
    raise errors.UserError(
      f'{run} is not a run: no config.json there. Give the folder of a run, '
      'such as runs/cifar_finetune'
    )
  if config.mode == 'probe':
    raise errors.UserError(
      f'{run} is a run of mode=probe, which has no network of its own; give '
      f'the one that it probed, {config.init_from}'
    )
  variables = weights_lib.restore(os.fspath(run), step)
  step = int(variables.pop('step'))
  class_names = None
  if config.mode == 'finetune':
    count = len(variables['params']['head']['bias'])
    class_names = run_metadata.load_class_names(workdir)
    if not class_names:
      logger.warning('%s has no data.json: its classes have no names', run)
      class_names = [str(label) for label in range(count)]
  return Model(config, variables, class_names, batch_size, step)

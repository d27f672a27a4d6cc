"""Metrics for TensorBoard, by clu."""

from concurrent import futures
import sys
import types
from typing import Any

from etils import epath

from selfie_jax import data
from selfie_jax.training import background

_CALLBACK = 'tensorboard.plugins.hparams._keras'


class Writer:
  """clu's default writer, which is TensorFlow's: that loads beside the run."""

  def __init__(self, workdir: epath.Path, just_logging: bool):
    self._workdir, self._just_logging = workdir, just_logging
    self._opened: futures.Future | None = None

  def open(self) -> futures.Future:
    """Begins to load, if it has not; what is written first waits for it."""
    if self._opened is None:
      arguments = self._workdir, self._just_logging
      self._opened = background.begin(_create, *arguments)
    return self._opened

  def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    self.open().result().write_scalars(step, scalars)

  def write_images(self, step: int, images: dict[str, Any]) -> None:
    self.open().result().write_images(step, images)

  def close(self) -> None:
    # What could not be opened has been said by what was written first.
    if self._opened and not self._opened.exception():
      self._opened.result().close()


def _create(workdir: epath.Path, just_logging: bool):
  """Loads clu's writers without Keras.

  With them comes TensorBoard's hparams, whose callback for Keras loads Keras,
  and that scikit-learn and pyplot.
  """
  data.load_tensorflow()
  stub = types.ModuleType(_CALLBACK)
  vars(stub)['Callback'] = None
  is_loaded = sys.modules.setdefault(_CALLBACK, stub) is not stub
  from clu import metric_writers

  if not is_loaded:
    del sys.modules[_CALLBACK]
  return metric_writers.create_default_writer(
    workdir, just_logging=just_logging
  )

"""From a data set on the disk to batches of images: the room of TensorFlow."""

import contextlib
import functools
from importlib import metadata
import importlib.util
import sys
import threading
import types
from typing import TYPE_CHECKING

_lock = threading.Lock()


class _TensorFlow(types.ModuleType):
  """TensorFlow, loaded by the first of its names: batches may not need it."""

  def __getattr__(self, name: str):
    return getattr(load_tensorflow(), name)


if TYPE_CHECKING:
  import tensorflow as tf
else:
  tf = _TensorFlow('tensorflow')


@functools.cache
def load_tensorflow() -> types.ModuleType:
  """TensorFlow, which takes seconds, without Keras and GPUs.

  It would load Keras, 40 % of its time, and does without where that fails;
  nothing here uses it, and tf.keras still loads it for whoever does. And it
  would take the memory of the GPU that JAX trains on; whoever has used it
  before has made that choice.
  """
  with _lock:
    is_stubbed = not {'tensorflow', 'keras'} & sys.modules.keys()
    if is_stubbed:
      stub = types.ModuleType('keras')
      stub.__spec__ = importlib.util.find_spec('keras')
      sys.modules['keras'] = stub
    import tensorflow

    if is_stubbed:
      del sys.modules['keras']
  with contextlib.suppress(RuntimeError):
    tensorflow.config.set_visible_devices([], 'GPU')
  return tensorflow


def tensorflow_version() -> str:
  """As tf.__version__, without loading it where its package is known."""
  for package in ('tensorflow', 'tensorflow-cpu'):
    with contextlib.suppress(metadata.PackageNotFoundError):
      return metadata.version(package)
  return tf.__version__

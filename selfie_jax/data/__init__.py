"""From a data set on the disk to batches of images: the room of TensorFlow."""

import importlib.util
import sys
import types

if not {'tensorflow', 'keras'} & set(sys.modules):
  # TensorFlow loads Keras while it is imported, which is 40 % of its time, and
  # does without where that fails. Nothing here uses it, and tf.keras still
  # loads it for whoever does.
  keras = types.ModuleType('keras')
  keras.__spec__ = importlib.util.find_spec('keras')
  sys.modules['keras'] = keras
  import tensorflow  # noqa: F401

  del sys.modules['keras'], keras

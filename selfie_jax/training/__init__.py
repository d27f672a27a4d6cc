"""The one loop, and what it says and keeps."""

import sys
import types

_CALLBACK = 'tensorboard.plugins.hparams._keras'
if _CALLBACK not in sys.modules:
  # clu's writers load TensorBoard's hparams, whose callback for Keras loads
  # Keras, and that scikit-learn and pyplot: a third of a start.
  sys.modules[_CALLBACK] = types.ModuleType(_CALLBACK)
  sys.modules[_CALLBACK].Callback = None
  from clu import metric_writers  # noqa: F401

  del sys.modules[_CALLBACK]

"""clu's writers of metrics, loaded without Keras.

With them comes TensorBoard's hparams, whose callback for Keras loads Keras, and
that scikit-learn and pyplot: a third of a start.
"""

import sys
import types

_CALLBACK = 'tensorboard.plugins.hparams._keras'

_stub = types.ModuleType(_CALLBACK)
vars(_stub)['Callback'] = None
_is_loaded = sys.modules.setdefault(_CALLBACK, _stub) is not _stub

from clu.metric_writers import create_default_writer  # noqa: E402, F401

if not _is_loaded:
  del sys.modules[_CALLBACK]

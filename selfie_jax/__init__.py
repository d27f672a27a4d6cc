"""Selfie: self-supervised pretraining for image embedding, in JAX and Flax."""

import os

# What TensorFlow's C++ logs, for which it looks while it loads; what goes wrong
# comes as an exception.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# With AVX512_VNNI and the like TensorFlow tells of oneDNN, whatever the level;
# here it only decodes images.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

__version__ = '0.1.0'


def __getattr__(name: str):
  # JAX and TensorFlow are loaded only when they are needed.
  if name == 'load':
    from selfie_jax.inference import model as model_lib

    return model_lib.load
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

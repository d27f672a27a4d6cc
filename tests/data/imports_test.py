"""What data/ loads."""

import subprocess
import sys

CODE = """
import sys
from selfie_jax import data
assert 'tensorflow' in sys.modules and 'keras' not in sys.modules
import tensorflow
assert tensorflow.keras.optimizers.SGD
"""


def test_tensorflow_without_keras_which_can_still_be_loaded():
  subprocess.run([sys.executable, '-c', CODE], check=True)

"""What data/ and training/ load."""

import subprocess
import sys

CODE = """
import sys
from selfie_jax import data
assert 'tensorflow' in sys.modules and 'keras' not in sys.modules
import tensorflow
assert tensorflow.keras.optimizers.SGD
"""


TRAINING = """
import sys
from selfie_jax.probes import online_knn
from selfie_jax.training import train
assert not {'keras', 'sklearn', 'matplotlib.pyplot'} & sys.modules.keys()
"""


def test_training_without_keras_scikit_learn_and_pyplot():
  subprocess.run([sys.executable, '-c', TRAINING], check=True)


def test_tensorflow_without_keras_which_can_still_be_loaded():
  subprocess.run([sys.executable, '-c', CODE], check=True)

"""What data/ and training/ load, and that they do it without a word."""

import os
import subprocess
import sys

import pytest

DATA = """
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


@pytest.mark.parametrize('code', [DATA, TRAINING], ids=['data', 'training'])
def test_what_is_loaded_and_nothing_printed(code):
  own = {k: v for k, v in os.environ.items() if not k.startswith('TF_')}
  done = subprocess.run(
    [sys.executable, '-c', code], text=True, capture_output=True, env=own
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, '', '')

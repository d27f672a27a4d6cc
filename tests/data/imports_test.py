"""What data/ and training/ load, and that they do it without a word."""

import os
import subprocess
import sys

CODE = """
import sys
from selfie_jax.data import batches as batches_lib, tf
from selfie_jax.probes import online
from selfie_jax.training import train
assert not {'tensorflow', 'matplotlib', 'sklearn'} & sys.modules.keys()
from selfie_jax.training import reporting
writer = reporting.create_writer(sys.argv[1])
writer.write_scalars(1, {'loss': 0.5})
writer.close()
assert 'tensorflow' in sys.modules
assert not {'keras', 'matplotlib.pyplot', 'sklearn'} & sys.modules.keys()
assert tf.io and tf.keras.optimizers.SGD
"""


def test_what_is_loaded_and_nothing_printed(tmp_path):
  own = {k: v for k, v in os.environ.items() if not k.startswith('TF_')}
  done = subprocess.run(
    [sys.executable, '-c', CODE, tmp_path],
    text=True,
    capture_output=True,
    env=own,
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, '', '')

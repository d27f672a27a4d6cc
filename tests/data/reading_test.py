"""What is on its way when a process ends."""

import os
import subprocess
import sys

from benchmarks import bucket as bucket_lib

GIVES_UP = """
import asyncio, atexit
from selfie_jax.data import reading
atexit.register(print, 'ended', flush=True)
requests = [reading.begin('gs://bucket/file', 4 * n, 4) for n in range(32)]
loop = reading._loop()
asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result()
for request in requests:
  request.cancel()
"""


def test_a_process_ends_after_the_answers_that_it_gave_up(tmp_path):
  """Else tensorstore may abort it, though its work is done."""
  (tmp_path / 'file').write_bytes(bytes(128))
  bucket = bucket_lib.Bucket(bucket_lib.Behaviour(latency=1.0))
  bucket.add_folder(tmp_path, 'bucket')
  with (
    bucket.serve() as environment,
    subprocess.Popen(
      [sys.executable, '-c', GIVES_UP],
      env=os.environ | environment,
      stdout=subprocess.PIPE,
    ) as process,
  ):
    assert process.stdout.readline() == b'ended\n'
    assert not bucket.waiting
    assert process.wait() == 0
  assert bucket.counts.requests['read'] == 32

"""Reads that nobody waits for any more do not keep a process from ending."""

import os
import subprocess
import sys

from benchmarks import bucket as bucket_lib

GIVES_UP = """
import threading
from selfie_jax.data import reading
reads = [reading.pool.submit(reading.read, 'gs://bucket/file', 4 * n, 4)
         for n in range(1000)]
reads[0].result()
threading.Thread(target=lambda: (
    threading.main_thread().join(), print('ended', flush=True))).start()
"""


def test_a_process_ends_after_the_answers_on_their_way(tmp_path):
  """What is queued is not asked for, and tensorstore does not abort it."""
  (tmp_path / 'file').write_bytes(bytes(4000))
  bucket = bucket_lib.Bucket(bucket_lib.Behaviour(latency=0.5))
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
    assert process.wait() == 0
  assert bucket.counts.requests['read'] < 500

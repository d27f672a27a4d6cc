"""A run whose folder and data are in a bucket, killed again and again."""

import collections
import signal

import numpy as np
import pytest
import small_jobs

from benchmarks import bucket as bucket_lib

KILLS = 10
FIELDS = {
  'total_steps': 40,
  'log_every': 2,
  'eval_every': 10,
  'checkpoint_every': 4,
  'dataset.data_dir': 'gs://data/tfds',
  'dataset.cache_gib': 0.0,
  'dataset.shuffle_block': 8,
}


@pytest.mark.slow
def test_a_run_in_a_bucket_killed_ten_times_ends_alike(tmp_path, monkeypatch):
  """Each time after so many requests, some of which the bucket gets wrong."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  bucket, log = bucket_lib.Bucket(), tmp_path / 'log'
  draw = np.random.default_rng(0)
  killed_in = collections.Counter()
  with bucket.serve() as environment:
    for name, value in environment.items():
      monkeypatch.setenv(name, value)
    fields = FIELDS | {'dataset.data_dir': str(tmp_path / 'tfds')}
    whole = tmp_path / 'whole'
    with small_jobs.Process('pretrain', whole, fields, log) as process:
      assert process.wait() == 0, process.printed
    bucket.behaviour = bucket_lib.Behaviour(0.005, 0.02, error_every=97)
    run = 'gs://work/run'
    for kill in range(KILLS):
      bucket.forget()
      # A start takes some two hundred requests, a checkpoint some fifty.
      moment = int(draw.integers(5, 60)) if kill < 3 else None
      later = int(draw.integers(1, 80))
      seen = []

      def has_come(moment=moment, later=later, seen=seen):
        total = sum(bucket.counts.requests.values())
        if moment is None and not seen and ' train: ' in process.printed:
          seen.append(total)
        return total >= moment if moment else seen and total >= seen[0] + later

      with small_jobs.Process('pretrain', run, FIELDS, log) as process:
        assert process.wait_for(has_come), process.printed
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        killed_in['the start' if moment else 'training'] += 1
    with small_jobs.Process('pretrain', run, FIELDS, log) as process:
      assert process.wait() == 0, process.printed
      assert 'Continuing from step' in process.printed
  assert killed_in.total() == KILLS and bucket.errors
  copy = tmp_path / 'copy'
  for name, found in bucket.objects.items():
    if name.startswith('work/run/') and not name.endswith('/'):
      path = copy / name.removeprefix('work/run/')
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(found.content)
  small_jobs.same_end(whole, copy)

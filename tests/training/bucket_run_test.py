"""A run whose folder and data are in a bucket, killed again and again."""

import collections

import numpy as np
import pytest
import small_jobs

from benchmarks import bucket as bucket_lib

KILLS = 10
FIELDS = {
  'total_steps': 120,
  'log_every': 2,
  'eval_every': 20,
  'checkpoint_every': 4,
  'dataset.data_dir': 'gs://data/tfds',
  'dataset.cache_gib': 0.0,
  'dataset.shuffle_block': 8,
}


@pytest.mark.slow
def test_a_run_in_a_bucket_killed_ten_times_ends_alike(tmp_path, monkeypatch):
  """Each time after so many writes; now and then the bucket answers wrongly."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  bucket, log = bucket_lib.Bucket(), tmp_path / 'log'
  draw = np.random.default_rng(0)
  killed, errors = collections.Counter(), 0
  with bucket.serve() as environment:
    for name, value in environment.items():
      monkeypatch.setenv(name, value)
    fields = FIELDS | {'dataset.data_dir': str(tmp_path / 'tfds')}
    whole = tmp_path / 'whole'
    with small_jobs.Process('pretrain', whole, fields, log) as process:
      process.ends_well()
    bucket.add_folder(tmp_path / 'tfds', 'data/tfds')
    bucket.behaviour = bucket_lib.Behaviour(0.005, 0.02, error_every=97)
    run = 'gs://runs/digits'
    for kill in range(KILLS):
      bucket.forget()
      # A checkpoint is some forty objects; before the first are some ten.
      written = draw.integers(1, 9) if kill < 3 else draw.integers(20, 120)

      def has_come(written=written):
        return bucket.counts.requests['write'] >= written

      with small_jobs.Process('pretrain', run, FIELDS, log) as process:
        process.kill_when(has_come)
        goes_on = 'Continuing from step' in process.printed
        killed['a run that went on' if goes_on else 'a new run'] += 1
      errors += bucket.errors
    with small_jobs.Process('pretrain', run, FIELDS, log) as process:
      assert 'Continuing from step' in process.ends_well().printed
  assert killed.total() == KILLS and len(killed) == 2 and errors
  copy = tmp_path / 'copy'
  for name, found in bucket.objects.items():
    if name.startswith('runs/digits/') and not name.endswith('/'):
      path = copy / name.removeprefix('runs/digits/')
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(found.content)
  small_jobs.same_end(whole, copy)

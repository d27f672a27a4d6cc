"""The benchmarks run and print what they promise, on the smallest job."""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import input_pipeline
from selfie_jax.data import digits

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOB = '--config=configs/digits_pretrain.py:tiny'


def _run(name, *flags):
  """What a benchmark prints, and its line of JSON."""
  done = subprocess.run(
    [sys.executable, '-m', f'benchmarks.{name}', JOB, *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout, json.loads(done.stdout.splitlines()[-1])


def _are_positive(numbers, count):
  return len(numbers) == count and all(
    0 < number < math.inf for number in numbers
  )


def test_setting_up_is_no_part_of_a_rate(monkeypatch):
  """Nor has it to take the same time twice."""
  now = np.zeros(2)  # on the wall, and of the processor

  def batches():
    now[:] += 100, 50
    while True:
      now[:] += 2, 0.5
      yield

  monkeypatch.setattr(input_pipeline, '_clocks', now.copy)
  for seconds in (0, 9):
    rates = input_pipeline.batches_per_second(batches(), seconds)
    assert rates.tolist() == [0.5, 2]


@pytest.mark.slow
def test_the_stream_beside_gathering():
  said, found = _run('input_pipeline', '--rounds=2', '--seconds=0.05')
  assert found['in_memory'] and 'gathering alone' in said
  for name in ('stream', 'plain'):
    assert _are_positive(found['images_per_second'][name], 2)
  assert _are_positive(found['ratios'], 2)


@pytest.mark.slow
def test_a_bucket_beside_the_disk(tmp_path):
  digits.Digits(data_dir=tmp_path).download_and_prepare()
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'benchmarks.bucket', f'--folder={tmp_path}'),
      *('--latency=0.001', '--jitter=0.001', '--error_every=100'),
      *(sys.executable, '-m', 'benchmarks.bucket_input', JOB),
      *(f'--config.dataset.data_dir={tmp_path}', '--rounds=2'),
      *('--config.dataset.shuffle_block=4', '--seconds=0.05'),
    ],
    cwd=ROOT,
    env=os.environ | {'XDG_CACHE_HOME': str(tmp_path / 'cache')},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  *_, rates, counts = done.stdout.splitlines()
  for name in ('records, disk', 'images, disk', 'records, bucket'):
    assert _are_positive(json.loads(rates)[name]['wall'], 2)
  assert 'Counts(requests=' in counts and ' at once' in counts

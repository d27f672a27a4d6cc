"""The benchmarks run and print what they promise, on the smallest job."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks import input_pipeline
from selfie_jax import errors
from selfie_jax.data import digits

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOB = '--config=configs/digits_pretrain.py:tiny'


def _run(*words, cache='cache'):
  """The lines that python -m WORDS prints."""
  done = subprocess.run(
    [sys.executable, '-m', *words],
    cwd=ROOT,
    env=os.environ | {'XDG_CACHE_HOME': str(cache)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()


def test_setting_up_is_no_part_of_a_rate(monkeypatch):
  now = np.zeros(2)  # on the wall, and of the processor

  def batches():
    now[:] += 100, 50
    while True:
      now[:] += 2, 0.5
      yield

  monkeypatch.setattr(input_pipeline, '_clocks', now.copy)
  rates = input_pipeline.batches_per_second(batches(), 9)
  assert rates.tolist() == [0.5, 2]


@pytest.mark.slow
def test_the_stream_beside_gathering_and_a_bucket_beside_the_disk(tmp_path):
  cache = tmp_path / 'cache'
  often = '--rounds=2', '--seconds=0.05'
  *said, found = _run('benchmarks.input_pipeline', JOB, *often, cache=cache)
  found = json.loads(found)
  assert found['in_memory'] and 'gathering alone' in '\n'.join(said)
  for numbers in (*found['images_per_second'].values(), found['ratios']):
    assert len(numbers) == 2 and min(numbers) > 0

  digits.Digits(data_dir=tmp_path).download_and_prepare()
  bucket = 'benchmarks.bucket', f'--folder={tmp_path}'
  bad = '--latency=0.001', '--jitter=0.001', '--error_every=100'
  job = JOB, f'--config.dataset.data_dir={tmp_path}'
  job += ('--config.dataset.shuffle_block=4',)
  reads = sys.executable, '-m', 'benchmarks.bucket_input', *job, *often
  *_, rates, counts = _run(*bucket, *bad, *reads, cache=cache)
  for name in ('records, disk', 'images, disk', 'records, bucket'):
    assert min(json.loads(rates)[name]['wall']) > 0
  assert 'Counts(requests=' in counts and ' at once' in counts


@pytest.mark.slow
def test_what_a_gpu_is_asked_is_measured_once(tmp_path, capsys, monkeypatch):
  """Here the CPU is; what fails is said, and tried again when asked again."""
  monkeypatch.setattr(gpu, 'JOBS', ('digits_pretrain',))
  monkeypatch.setattr(gpu, 'DTYPES', ('float32',))

  def run(name, *arguments):
    out = tmp_path / name
    gpu.run(out, *arguments)
    return [json.loads(line)['found'] for line in out.read_text().splitlines()]

  found = run('gpu.jsonl', gpu.KINDS, ':tiny', 12)
  assert not [row for row in found if 'error' in row]
  *rates, exact, _, _, _ = found
  assert all(row['images_per_second'] > 0 for row in rates)
  assert exact == {'steps': 12, 'first': 0.0, 'largest': 0.0}  # both the CPU
  assert 'images/s' in capsys.readouterr().out

  with pytest.raises(errors.UserError, match='2 measurements failed'):
    run('none.jsonl', ('step',), ':none', 1)
  assert "no variant 'none'" in (tmp_path / 'none.jsonl').read_text()
  monkeypatch.setattr(gpu, 'measure', lambda cell: found[0])
  assert run('none.jsonl', ('step',), ':none', 1)[2:] == 2 * found[:1]
  monkeypatch.setattr(gpu, 'measure', None)
  assert run('none.jsonl', ('step',), ':none', 1)[2:] == 2 * found[:1]

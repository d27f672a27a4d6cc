"""What a GPU is asked, on the CPU and the smallest jobs."""

import json

import pytest

from benchmarks import gpu


@pytest.fixture
def one_job(monkeypatch):
  monkeypatch.setattr(gpu, 'JOBS', ('digits_pretrain',))
  monkeypatch.setattr(gpu, 'DTYPES', ('float32',))


def _read(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_what_fails_is_said_and_nothing_is_measured_twice(
  one_job, tmp_path, capsys, monkeypatch
):
  out = tmp_path / 'gpu.jsonl'
  gpu.run(out, ('step',), ':none', 1)
  small, papers = _read(out)
  assert small['cell']['batch'] == 128 and papers['cell']['batch'] is None
  assert "no variant 'none'" in papers['found']['error']
  said = capsys.readouterr().out
  monkeypatch.setattr(gpu, 'measure', None)
  gpu.run(out, ('step',), ':none', 1)
  assert capsys.readouterr().out == said
  assert len(_read(out)) == 2


@pytest.mark.slow
def test_it_measures_all_kinds(one_job, tmp_path, capsys):
  out = tmp_path / 'gpu.jsonl'
  gpu.run(out, gpu.KINDS, ':tiny', 12)
  found = [row['found'] for row in _read(out)]
  assert not [row for row in found if 'error' in row]
  *rates, exact, _, _, _ = found
  assert all(row['images_per_second'] > 0 for row in rates)
  assert exact == {'steps': 12, 'first': 0.0, 'largest': 0.0}  # both the CPU
  assert 'images/s' in capsys.readouterr().out

"""Mistakes in what is to be compared; main_test.py compares real runs."""

import sys

import pytest

from selfie_jax import compare


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
  def refused(*flags):
    monkeypatch.setattr(sys, 'argv', ['compare', *map(str, flags)])
    with pytest.raises(SystemExit) as ended:
      compare.main()
    assert ended.value.code == 2
    out, printed = capsys.readouterr()
    assert (
      out == '' and printed.startswith('error: ') and printed.count('\n') == 1
    )
    return printed

  assert 'required: runs; python -m selfie_jax.compare --help' in refused()
  assert 'no results.json there' in refused(tmp_path)
  (tmp_path / 'results.json').write_text('{')
  assert 'results.json is damaged' in refused(tmp_path)

"""What a run reports, in its log, its history and its results."""

import json

from etils import epath
import pytest

from selfie_jax import errors
from selfie_jax.training import reporting


def test_lines_carry_their_numbers(pretrain_config, tmp_path, log_messages):
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    reporter.row(3, 'train', {'loss': 1.5}, images_per_second_per_device=9.0)
  [record] = [r for r in log_messages.records if 'loss 1.5' in r.getMessage()]
  assert record.row == {'step': 3, 'part': 'train', 'loss': 1.5}


def test_history_is_there_while_the_run_goes_on(pretrain_config, tmp_path):
  path = tmp_path / 'history.json'
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    reporter.row(3, 'train', {'loss': 1.5})
    assert not path.exists()
    for step in (6, 12):
      reporter.row(step, 'test', {'loss': 1.25})
      assert json.loads(path.read_text()) == reporter.history
      assert reporter.history[-1]['step'] == step


def test_a_trace_ends_with_the_steps(pretrain_config, tmp_path, monkeypatch):
  """Those that are cut short too: jax can trace one thing at a time."""
  monkeypatch.setattr(reporting, 'TRACE_AFTER', 1)
  pretrain_config.profile_steps = 2
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    for _ in range(2):
      with pytest.raises(KeyboardInterrupt), reporter.follow_steps(0):
        reporter.step(1, {})
        raise KeyboardInterrupt
  assert list(tmp_path.glob('plugins/profile/*/*.xplane.pb'))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_row_that_is_not_finite_is_never_kept(
  pretrain_config, tmp_path, value
):
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    with pytest.raises(errors.Diverged, match='test loss .* at step 6'):
      reporter.row(6, 'test', {'loss': value})
    assert not reporter.history

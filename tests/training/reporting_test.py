"""What a run tells reaches those who listen."""

from etils import epath

from selfie_jax.training import reporting


def test_lines_carry_their_numbers(pretrain_config, tmp_path, told):
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    reporter.row(3, 'train', {'loss': 1.5}, images_per_second_per_device=9.0)
  [record] = [r for r in told.records if 'loss 1.5' in r.getMessage()]
  assert record.row == {'step': 3, 'part': 'train', 'loss': 1.5}

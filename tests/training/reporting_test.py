"""What a run tells reaches those who listen."""

import json

from etils import epath
import pytest

from selfie_jax import errors
from selfie_jax.training import reporting


def test_lines_carry_their_numbers(pretrain_config, tmp_path, told):
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    reporter.row(3, 'train', {'loss': 1.5}, images_per_second_per_device=9.0)
  [record] = [r for r in told.records if 'loss 1.5' in r.getMessage()]
  assert record.row == {'step': 3, 'part': 'train', 'loss': 1.5}


@pytest.mark.parametrize(
  'path, name', [('', 'digits'), ('my/photos/', 'photos'), ('a.csv', 'a.csv')]
)
def test_own_images_are_called_by_their_folder(
  pretrain_config, tmp_path, path, name
):
  pretrain_config.dataset.path = path
  with reporting.Reporter(pretrain_config, epath.Path(tmp_path)) as reporter:
    reporter.finish({'loss': 1.5}, {}, 12)
  results = json.loads((tmp_path / 'results.json').read_text())
  assert results['dataset'] == name


def test_no_place_for_the_events_is_one_line(pretrain_config, tmp_path):
  (tmp_path / 'file').touch()
  reporter = reporting.Reporter(pretrain_config, epath.Path(tmp_path / 'file'))
  with pytest.raises(errors.UserError, match='cannot write to'), reporter:
    pass

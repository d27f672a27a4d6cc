"""The report: its numbers, what is missing, and its figures."""

import pathlib
import re

import made_up_runs
import numpy as np
import pytest

from selfie_jax.experiments import report
from selfie_jax.experiments import report_figures
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import statistics
from selfie_jax.storage import run_metadata

COMMAND = 'python -m selfie_jax.reproduce --experiment=x'


def written(plan):
  """The text of the report, of what is in the plan's workdir."""
  folder, runs = pathlib.Path(plan.workdir, 'report'), results_lib.read(plan)
  return report.write(plan, runs, folder, COMMAND).read_text()


def rows(text, title):
  """Cells of the first table of a section."""
  section = text.partition(f'## {title}\n')[2].partition('\n## ')[0]
  cells = [line.strip('| ').split(' | ') for line in section.splitlines()]
  return [row for row in cells if len(row) > 1][2:]


def test_report_has_the_papers_numbers_the_runs_and_the_command(tmp_path):
  plan = made_up_runs.plan(grid=(0.03, 0.1), workdir=str(tmp_path))
  runs = made_up_runs.finish_all(plan)
  text = written(plan)
  assert 'All 8 cells are finished.' in text and COMMAND in text
  cells = rows(text, 'Results')
  # 40 + 20 * 0.08, seeds half a point apart, and Selfie two points ahead.
  low, high = statistics.welch_interval([43.6, 44.1], [41.6, 42.1])
  other = ['8 %', 'supervised', '79.3 ± 1.0', '41.9 ± 0.4', '-', '-', '-', '2']
  assert cells[2] == other
  assert cells[3] == [
    *('8 %', 'Selfie', '80.3 ± 0.3', '43.9 ± 0.4', '+1.0', '+2.0'),
    *(f'**{low:+.1f} to {high:+.1f}**', '2'),
  ]
  assert cells[1][4] == '+0.0'  # the paper, at 5 %
  cells = rows(text, 'Learning rates')
  assert len(cells) == 4
  assert cells[0] == ['5 %', 'supervised', '41.3', '**42.0**', '0.1']
  assert 'may do better: supervised at 5 %' in text  # 0.1 is the highest
  cells = {row[0]: row[1:] for row in rows(text, 'Runs')}
  assert len(cells) == 1 + 8
  assert cells['selfie_resnet50_5pct_seed1'] == [
    *('0.1', '6', '-', '44.5', '43.5', '100', '1.0')
  ]

  # And so has the picture.
  compared = statistics.compare(plan, runs)
  means = compared[compared.kind == 'Selfie']['mean']
  axes = report_figures.accuracy(plan, compared).axes
  for axis, values in zip(axes, (means, [75.9, 80.3], [2, 2]), strict=True):
    drawn = {c.get_label(): c.lines[0].get_xdata() for c in axis.containers}
    np.testing.assert_allclose(np.float64(drawn['Selfie']), values)


def test_report_names_what_is_missing_and_why(tmp_path):
  plan = made_up_runs.plan(workdir=str(tmp_path))
  lost, failed = plan.cells()[0], plan.cells()[1]
  made_up_runs.finish_all(plan, but=(lost.name, failed.name))
  run_metadata.note_failure(failed.folder, 1, 'no <room> | `left`')
  text = written(plan)
  assert '**6 of 8 cells are finished.**' in text and 'Not tuned' in text
  assert f'- {lost.name}: `not finished`\n' in text
  assert f"- {failed.name}: `no <room> | 'left'`\n" in text

  plan = made_up_runs.plan(grid=(0.03, 0.1), workdir=str(tmp_path / 'untuned'))
  text = written(plan)
  assert '**0 of 8 cells are finished.**' in text
  (line,) = re.findall(r'- (.*): `no learning rate chosen yet`', text)
  assert len(line.split(', ')) == 8


def test_ablations_are_compared_with_the_default(tmp_path):
  plan = made_up_runs.plan('cifar_ablations', workdir=str(tmp_path))
  made_up_runs.finish_all(plan)
  default, *others = rows(written(plan), 'Results')
  assert default[1] == 'default' and default[5] == '-'
  choices = [job.choice for job in plan.pretrainings()]
  assert [row[1] for row in others] == choices[1:]
  for row in others:
    assert row[3] == '25.0'  # chance
    assert float(row[5]) == pytest.approx(
      float(row[4].split()[0]) - float(default[4].split()[0]), abs=0.11
    )


@pytest.mark.parametrize('name', ['cifar_labels', 'cifar_ablations'])
def test_picture_is_beside_the_text(name, tmp_path):
  plan = made_up_runs.plan(name, workdir=str(tmp_path))
  made_up_runs.finish_all(plan)
  names = re.findall(r'\]\((\w+\.png)\)', written(plan))
  files = {path.name for path in (tmp_path / 'report').iterdir()}
  assert files == {*names, 'report.md'} and len(names) == 1

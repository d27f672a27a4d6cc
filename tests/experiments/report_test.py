"""The report: its numbers, what is missing, and its figures."""

import pathlib
import re

import made_up_runs
import numpy as np

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
  assert text.startswith('# cifar_labels, :tiny, on cifar10\n')
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

  # And so has the picture, which is beside the text.
  names = re.findall(r'\]\((\w+\.png)\)', text)
  files = {path.name for path in (tmp_path / 'report').iterdir()}
  assert files == {*names, 'report.md'} and len(names) == 1
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


def test_an_ablation_has_a_row_and_a_line_for_each_choice(tmp_path):
  plan = made_up_runs.plan('cifar_ablations', workdir=str(tmp_path))
  runs = made_up_runs.finish_all(plan)
  cells = rows(written(plan), 'Results')
  choices = [job.choice or 'default' for job in plan.pretrainings()]
  assert [row[1] for row in cells] == choices
  compared = statistics.compare(plan, runs)
  axis = report_figures.accuracy(plan, compared).axes[0]
  assert [text.get_text() for text in axis.get_yticklabels()] == choices

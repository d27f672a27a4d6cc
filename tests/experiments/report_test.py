"""The report: its numbers, what it owns up to, and that it is one file."""

import html.parser
import itertools
import re

import made_up_runs
from matplotlib.backends import backend_agg
import numpy as np
from PIL import Image
import pytest

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import report
from selfie_jax.experiments import report_figures
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import statistics
from selfie_jax.experiments import tuning

COMMAND = 'python -m selfie_jax.reproduce --experiment=x'


def finished(plan, folder, but=()):
  """All jobs of a plan have ended, but those whose names are in `but`."""
  folders = results_lib.Folders(plan, folder)
  for job in plan.pretrainings() + plan.tunings():
    made_up_runs.finish(folders, job)
  for job in plan.cells(tuning.choose(plan, folders)):
    if job.name not in but:
      made_up_runs.finish(folders, job)
  return folders


def written(plan, folders):
  """(text, page) of the report."""
  page = report.write(plan, folders, COMMAND)
  return (page.parent / 'report.md').read_text(), page.read_text()


def rows(text, title):
  """Cells of the first table of a section."""
  section = text.partition(f'## {title}\n')[2].partition('\n## ')[0]
  found = [line.strip('| ').split(' | ') for line in section.splitlines()]
  return [row for row in found if len(row) > 1][2:]


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
  plan = made_up_runs.plan(grid=(0.03, 0.1))
  folders = finished(plan, tmp_path_factory.mktemp('labels'))
  return plan, folders, *written(plan, folders)


def test_table_has_the_papers_numbers_beside_ours(labels):
  plan, folders, text, _ = labels
  first, second = rows(text, 'Results')
  jobs = [j for j in plan.cells({j.key: 0.1 for j in plan.cells()})]
  ours, others = (
    [100 * made_up_runs.accuracy(j) for j in jobs if j.key == key]
    for key in (
      ('selfie', 'resnet50', 0.08),
      ('supervised', 'resnet50', 0.08),
    )
  )
  low, high = statistics.welch_interval(ours, others)
  mean, std = statistics.mean_std(ours)
  assert second == [
    '8 %',
    '79.3 ± 1.0',
    f'{np.mean(others):.1f} ± {std:.1f}',
    '80.3 ± 0.3',
    f'{mean:.1f} ± {std:.1f}',
    '+1.0',
    '+2.0',
    f'**{low:+.1f} to {high:+.1f}**',
    '2 + 2',
  ]
  assert first[5] == '+0.0'  # the paper, at 5 %


def test_report_says_what_differs_from_the_paper(labels):
  _, _, text, _ = labels
  changed = rows(text, 'What differs from the paper')
  assert ['`model.width`', '64', '4', '64', '4'] in changed
  assert ['`total_steps`', '120000', '12', '120000', '12'] in changed
  assert ['`batch_size`', '512', '32', '512', '32'] in changed
  assert not any(row[0] in ('`seed`', '`log_every`') for row in changed)
  assert 'Seeds: 2 at 5 %, 2 at 8 %; the paper has five.' in text
  assert 'Left out: 20 %, 100 % of the labels.' in text


def test_paper_setting_differs_in_nothing(tmp_path):
  plan = plan_lib.Plan('cifar_labels', '', (0.05, 0.08, 0.2, 1.0), (5,) * 4)
  text, _ = written(plan, results_lib.Folders(plan, tmp_path))
  assert 'Every field of the configs has the value for the paper' in text
  assert 'Left out' not in text and '0 of 40 cells' in text


def test_report_has_the_whole_grid_and_the_choice(labels):
  _, _, text, _ = labels
  found = rows(text, 'Learning rates')
  assert len(found) == 4
  assert found[0] == [
    'supervised',
    'ResNet-50',
    '5 %',
    '41.3',
    '**42.0**',
    '0.1',
  ]
  assert 'At the edge of the grid' in text  # 0.1 is the highest


def test_report_says_that_nothing_was_tuned(tmp_path):
  plan = made_up_runs.plan(fields=(('total_steps', '12'),))
  text, _ = written(plan, finished(plan, tmp_path))
  assert 'Not tuned' in text and '`--set total_steps=12`' in text


def test_report_has_cells_machines_and_commands(labels):
  plan, folders, text, _ = labels
  found = {row[0]: row[1:] for row in rows(text, 'Cells')}
  assert len(found) == 8
  assert found['selfie_resnet50_5pct_seed1'] == [
    '0.1',
    '6 of 12',
    '44.5',
    '43.5',
    '60 s',
  ]
  assert '2 x cpu (cpu)' in text and 'jax 0.10.2' in text
  assert COMMAND in text
  for job in plan.pretrainings() + plan.cells(
    {j.key: 0.1 for j in plan.cells()}
  ):
    assert folders.command(job) in text


def test_report_names_what_is_missing_and_why(tmp_path):
  plan = made_up_runs.plan()
  lost, failed = plan.cells()[0], plan.cells()[1]
  folders = finished(plan, tmp_path, but=(lost.name, failed.name))
  folders.run(failed).mkdir()
  (folders.run(failed) / results_lib.FAILED).write_text('no <room> | `left`\n')
  text, page = written(plan, folders)
  assert '**6 of 8 cells are finished.**' in text
  assert f'- not finished: {lost.name}\n' in text
  assert f"- {failed.name}: failed: `no <room> | 'left'`" in text
  assert 'no &lt;room&gt;' in page


def test_cells_without_a_rate_are_missing(tmp_path):
  plan = made_up_runs.plan(grid=(0.03, 0.1))
  text, _ = written(plan, results_lib.Folders(plan, tmp_path))
  assert '**0 of 8 cells are finished.**' in text
  assert text.count('- no learning rate chosen yet: supervised') == 1
  assert 'supervised_resnet50_5pct_seed{0,1}, selfie' in text
  assert 'tune_supervised_resnet50_5pct_seed1000_rate{0.03,0.1}' in text


def test_ablations_are_compared_with_the_default(tmp_path):
  plan = made_up_runs.plan('cifar_ablations', fractions=(0.08,), seeds=(3,))
  text, _ = written(plan, finished(plan, tmp_path))
  default, *others = rows(text, 'Results')
  assert default[0] == 'default' and default[4:6] == ['', '']
  assert [row[0].strip('`') for row in others] == plan.choices()
  for row in others:
    assert float(row[4]) == pytest.approx(
      float(row[3].split()[0]) - float(default[3].split()[0]), abs=0.11
    )


class Links(html.parser.HTMLParser):
  """Gathers what a page points to."""

  def __init__(self):
    super().__init__()
    self.found, self.tags = [], []

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    self.found += [v for k, v in attributes if k in ('src', 'href', 'srcset')]


@pytest.mark.parametrize(
  'name', ['cifar_labels', 'cifar_attention', 'cifar_ablations']
)
def test_page_is_one_file_with_all_figures(name, tmp_path):
  plan = made_up_runs.plan(name)
  folders = finished(plan, tmp_path)
  text, page = written(plan, folders)
  links = Links()
  links.feed(page)
  names = re.findall(r'\]\((\w+)\.png\)', text)
  assert len(links.found) == len(names) == 3
  assert all(link.startswith('data:image/png;base64,') for link in links.found)
  assert not {'script', 'link', 'iframe'} & set(links.tags)
  assert 'url(' not in page and '@import' not in page
  for figure in names:
    path = folders.workdir / 'reports' / plan.title / f'{figure}.png'
    assert Image.open(path).width >= 1200


def test_report_is_the_same_again(labels):
  plan, folders, text, page = labels
  assert written(plan, folders) == (text, page)


def test_figures_show_the_numbers(labels):
  plan, folders, *_ = labels
  facts = report.gather_facts(plan, folders)
  left, paper, right = report_figures.accuracy(facts).axes
  drawn = [c for c in paper.containers if c.get_label() == 'Selfie']
  np.testing.assert_allclose(
    np.float64(drawn[0].lines[0].get_ydata()), [75.9, 80.3]
  )
  means = [
    np.mean(facts.accuracies(('selfie', 'resnet50', f))) for f in plan.fractions
  ]
  drawn = [c for c in left.containers if c.get_label() == 'Selfie']
  np.testing.assert_allclose(np.float64(drawn[0].lines[0].get_ydata()), means)
  (bars,) = [c for c in right.containers if c.get_label() != 'paper']
  np.testing.assert_allclose(np.float64(bars.lines[0].get_ydata()), [2, 2])
  curves = report_figures.curves(facts)
  assert len(curves.axes) == 2 and len(curves.axes[0].lines) == 2 * (2 + 1)


@pytest.mark.parametrize('name', ['cifar_labels', 'cifar_ablations'])
def test_texts_of_the_figures_lie_apart(name, tmp_path):
  plan = made_up_runs.plan(name)
  facts = report.gather_facts(plan, finished(plan, tmp_path))
  for figure in report_figures.draw(facts).values():
    backend_agg.FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
      labels = [t for t in axis.get_xticklabels() if t.get_text()]
      boxes = [label.get_window_extent() for label in labels]
      assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))

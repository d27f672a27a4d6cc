"""The report of an experiment: report.md, report.html and their figures."""

from typing import Any

from etils import epath

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import report_facts
from selfie_jax.experiments import report_figures
from selfie_jax.experiments import report_page
from selfie_jax.experiments import report_tables
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import tuning
from selfie_jax.storage import workdir as workdir_lib


def write(
  plan: plan_lib.Plan, folders: results_lib.Folders, command: str
) -> epath.Path:
  """Writes the report of what is finished so far.

  Args:
    plan: what was asked for.
    folders: where its runs are; the report comes into the gathered folder, or
      without one into reports/ in the workdir.
    command: what was typed.

  Returns:
    report.html.
  """
  folder = folders.results or folders.workdir / 'reports' / plan.title
  folder.mkdir(parents=True, exist_ok=True)
  facts = gather_facts(plan, folders)
  figures = {}
  for name, figure in report_figures.draw(facts).items():
    figures[name] = report_page.png(figure)
    (folder / f'{name}.png').write_bytes(figures[name])
  text = report_tables.page(facts, command, tuple(figures))
  workdir_lib.write(folder / 'report.md', text)
  page = report_page.html(text, figures)
  workdir_lib.write(folder / 'report.html', page)
  return folder / 'report.html'


def gather_facts(
  plan: plan_lib.Plan, folders: results_lib.Folders
) -> report_facts.Facts:
  """All that a report is about."""
  rates = tuning.choose(plan, folders)
  cells = plan.cells(rates)
  named = {job.name for job in cells}
  untuned = [job for job in plan.cells() if job.name not in named]
  jobs = plan.pretrainings() + plan.tunings() + cells
  outcomes: dict[plan_lib.Job, Any] = {
    job: folders.outcome(job) for job in jobs
  }
  return report_facts.Facts(
    plan,
    outcomes,
    untuned,
    rates,
    tuning.accuracies(plan, folders),
    [folders.command(job) for job in jobs],
  )

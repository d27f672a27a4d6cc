"""The report of an experiment, report.md: the paper's numbers beside ours."""

from etils import epath
import pandas as pd

from selfie_jax import config as config_lib
from selfie_jax import job_flags
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import report_figures
from selfie_jax.experiments import statistics
from selfie_jax.storage import workdir as workdir_lib


def write(
  plan: plan_lib.Plan, runs: pd.DataFrame, folder: epath.Path, command: str
) -> epath.Path:
  """Writes report.md and its picture, of what is finished so far."""
  workdir_lib.make(folder)
  compared = statistics.compare(plan, runs)
  with (folder / 'accuracy.png').open('wb') as file:
    figure = report_figures.accuracy(plan, compared)
    figure.savefig(file, format='png', metadata={'Software': None})
  variant = f':{plan.variant}' if plan.variant else "the paper's setting"
  job = plan.cells()[0]
  config = job_flags.read_flat(job.file, job.fields)
  tested = 'last step'
  if config['validation_fraction']:
    tested = (
      'step that was best on the validation split; the test set was read once, '
      'at that step'
    )
  starts = 'of one pretraining, over finetuning seeds only'
  if plan.pretrain_seeds > 1:
    starts = (
      f'over {plan.pretrain_seeds} pretrainings with different seeds, '
      'each of them the mean of its runs'
    )
  sections = [
    f'# {plan.experiment}, {variant}, on {config_lib.name_data(config)}',
    _describe_state(runs),
    '## Results',
    'Test accuracy in %, mean ± standard deviation over seeds'
    f' (Selfie: {starts}); the difference '
    f"to {compared.kind[0]} in points with Welch's 95 % interval, bold if it "
    'excludes zero. Patch accuracy is on test images.',
    comparison(compared),
    '![Test accuracy, and the difference](accuracy.png)',
    '## Learning rates',
    *_describe_rates(plan, runs),
    '## Runs',
    f'Accuracies in %, of the {tested}.',
    _list_runs(runs[runs.stage != 'tune']),
    '## Command',
    f'```text\n{command}\n```',
  ]
  workdir_lib.write(folder / 'report.md', '\n\n'.join(sections) + '\n')
  return folder / 'report.md'


def comparison(compared: pd.DataFrame) -> str:
  """What `statistics.compare` returns, as a table in Markdown."""
  text = _format(compared.drop(columns=['fraction', 'kind', 'count']))
  points = _format(compared[['ahead', 'low', 'high', 'paper_ahead']], '{:+.1f}')
  interval = (points.low + ' to ' + points.high).replace('- to -', '-')
  excludes_zero = compared.low * compared.high > 0
  return _table({
    'labels': compared.fraction.map(_share),
    'what': compared.kind,
    'patch accuracy': text.patch_accuracy,
    'chance': text.chance,
    'paper': (text.paper + ' ± ' + text.paper_std).replace('- ± -', '-'),
    'ours': (text['mean'] + ' ± ' + text['std']).str.removesuffix(' ± -'),
    'paper ahead by': points.paper_ahead,
    'ours ahead by': points.ahead,
    '95 % interval': interval.where(~excludes_zero, '**' + interval + '**'),
    'runs': compared['count'],
  })  # fmt: skip


def _describe_state(runs: pd.DataFrame) -> str:
  """How much is there, and what is missing or failed."""
  cells = runs[runs.stage == 'cell']
  if cells.finished.all():
    return f'All {len(cells)} cells are finished.'
  done = f'{cells.finished.sum()} of {len(cells)} cells are finished'
  lines = [f'**{done}.** Missing:', '']
  left = runs[~runs.ended].fillna({'failure': 'not finished'})
  left.loc[left.needs_rate, 'failure'] = 'no learning rate chosen yet'
  for why, names in left.groupby('failure', sort=False).name:
    # As code, since it may have characters that mean something in Markdown.
    lines.append(f'- {", ".join(names)}: `{why[:300].replace("`", chr(39))}`')
  return '\n'.join(lines)


def _describe_rates(plan: plan_lib.Plan, runs: pd.DataFrame) -> list[str]:
  """How the learning rates were chosen."""
  if not plan.grid:
    return ['Not tuned (no `--tune`): all cells have that of the config.']
  tried = statistics.tuning_accuracies(runs)
  texts = _format(100 * tried).where(tried.notna(), 'diverged')
  chosen = statistics.choose_rates(plan, runs)
  grid, rows, edges = sorted(plan.grid), [], []
  for fraction in plan.fractions:
    for group, name in plan.spec.groups.items():
      key, labels = (*group, fraction), _share(fraction)
      rate = chosen.get(key, '-')
      cells = {each: texts.get((*key, each), '-') for each in grid}
      if rate in cells:
        cells[rate] = f'**{cells[rate]}**'
      rows.append({'labels': labels, 'what': name, **cells, 'chosen': rate})
      if rate in (grid[0], grid[-1]) and len(grid) > 1:
        edges.append(f'{name} at {labels}')
  counts = ', '.join(map(str, plan.tune_seeds))
  return [
    'Chosen for each row by the mean validation accuracy (in %) of each rate '
    f'over its runs ({counts} for the fractions of the labels), whose seeds '
    f'start at {plan_lib.TUNING_SEED}; no cell has one of them, and the test '
    'set played no part. Ablations have the rates of the default.',
    _table(rows),
    'At the edge of the grid, so that a wider one may do better: '
    f'{", ".join(edges) or "none"}.',
  ]


def _list_runs(runs: pd.DataFrame) -> str:
  """Every pretraining and cell, with its numbers."""
  columns = {'run': runs.name, 'learning rate': _format(runs.rate, '{:g}')}
  columns['best step'] = _format(runs.checkpoint, '{:.0f}')
  for name in ('patch_accuracy', 'validation_accuracy', 'test_accuracy'):
    columns[name.replace('_', ' ')] = _format(100 * runs[name])
  columns['images/s'] = _format(runs.images_per_second, '{:.0f}')
  columns['minutes'] = _format(runs.wall_seconds / 60)
  return _table(columns)


def _table(columns) -> str:
  """A table in Markdown, but for empty columns, of what a DataFrame takes."""
  frame = pd.DataFrame(columns).map(str)
  frame = frame.loc[:, (frame != '-').any()]
  lines = [map(str, frame.columns), ['---'] * frame.shape[1]]
  lines += frame.itertuples(index=False)
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _format(values, form: str = '{:.1f}'):
  return values.map(lambda v: '-' if pd.isna(v) else form.format(v))


def _share(fraction: float) -> str:
  return f'{100 * fraction:g} %'

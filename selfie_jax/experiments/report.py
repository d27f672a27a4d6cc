"""The report of an experiment, report.md: the paper's numbers beside ours."""

import datetime

from etils import epath
import pandas as pd

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import report_figures
from selfie_jax.experiments import statistics
from selfie_jax.experiments import tuning
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


def write(
  plan: plan_lib.Plan, runs: pd.DataFrame, folder: epath.Path, command: str
) -> epath.Path:
  """Writes report.md and its figures, of what is finished so far."""
  folder.mkdir(parents=True, exist_ok=True)
  compared = statistics.compare(plan, runs)
  pictures = {'accuracy': report_figures.accuracy(plan, compared)}
  if any(len({r['step'] for r in rows}) > 1 for rows in runs.history.dropna()):
    pictures['curves'] = report_figures.curves(plan, runs)
  for name, figure in pictures.items():
    with (folder / f'{name}.png').open('wb') as file:
      figure.savefig(file, format='png', metadata={'Software': None})
  fields = [f'`--set {f}={v}`' for f, v in plan.fields]
  fields += [f'`--pretrain_set {f}={v}`' for f, v in plan.pretrain_fields]
  jobs = [job for job in runs.job if not job.waits]
  commands = [recipes.command(j.config, j.fields, j.folder) for j in jobs]
  variant = f':{plan.variant}' if plan.variant else "the paper's setting"
  first = compared.kind[0]
  sections = [
    f'# {plan.experiment}, {variant}',
    _state(runs),
    '## Results',
    'Test accuracy in %, mean ± standard deviation over seeds, and by how many '
    f"points it is ahead of {first}, with Welch's 95 % interval; one that "
    'excludes zero is bold. Patch accuracy is on test images.',
    _comparison(compared),
    '![Test accuracy, and the difference](accuracy.png)',
    '## What differs from the paper',
    _departures(plan, runs),
    'Where the paper is silent, its column has the choice of this project: see '
    f'the README. {_published(plan.spec)}',
    '## Learning rates',
    *_rates(plan, runs),
    '## Runs',
    *['![Accuracy against steps](curves.png)'] * ('curves' in pictures),
    'Accuracies in %, of the step that was best on the validation part; the '
    'test set was read once, at that step.',
    _runs(runs[runs.stage != 'tune']),
    '## Machines, time and versions',
    _machines(runs[runs.finished]),
    "Times are the runs' own, added up: training, evaluation and checkpoints, "
    'without the start of the process and the reading of the data; of a run '
    'that was interrupted, since it was last started.',
    '## Commands',
    f'```text\n{command}\n```',
    f'Overrides of the recipe: {", ".join(fields) or "none"}. The jobs:',
    '\n'.join(['```text', *commands, '```']),
  ]
  workdir_lib.write(folder / 'report.md', '\n\n'.join(sections) + '\n')
  return folder / 'report.md'


def _published(spec: plan_lib.Experiment) -> str:
  if not spec.paper:
    return 'It has no such table.'
  shares = ', '.join(map(_share, spec.fractions))
  return f'The paper has five seeds and {shares} of the labels.'


def _state(runs: pd.DataFrame) -> str:
  """How much is there, and what is missing or failed."""
  cells = runs[runs.stage == 'cell']
  if cells.finished.all():
    return f'All {len(cells)} cells are finished.'
  done = f'{cells.finished.sum()} of {len(cells)} cells are finished'
  lines = [f'**{done}.** Missing:', '']
  left = runs[~runs.ended].fillna({'failure': 'not finished'})
  left.loc[left.waits, 'failure'] = 'no learning rate chosen yet'
  for why, names in left.groupby('failure', sort=False).name:
    # As code, for what Markdown would take for its own.
    lines.append(f'- {", ".join(names)}: `{why[:300].replace("`", chr(39))}`')
  return '\n'.join(lines)


def _comparison(compared: pd.DataFrame) -> str:
  text = _texts(compared.drop(columns='kind'))
  points = _texts(compared[['ahead', 'low', 'high', 'paper_ahead']], '{:+.1f}')
  interval = points.low.str.cat(points.high, ' to ').replace('- to -', '-')
  outside = compared.low * compared.high > 0
  columns = {
    'labels': compared.fraction.map(_share),
    'what': compared.kind,
    'patch accuracy': text.patch_accuracy,
    'chance': text.chance,
    'paper': text.paper.str.cat(' ± ' + text.paper_std).replace('- ± -', '-'),
    'ours': text['mean'].str.cat(' ± ' + text['std']).str.removesuffix(' ± -'),
    'paper ahead by': points.paper_ahead,
    'ours ahead by': points.ahead,
    '95 % interval': interval.where(~outside, '**' + interval + '**'),
    'runs': compared['count'],
  }
  return _table(columns)


def _departures(plan: plan_lib.Plan, runs: pd.DataFrame) -> str:
  """Fields in which the jobs differ from the configs without a variant."""
  columns = {}
  for mode, fields in (
    ('pretrain', plan.pretrain_fields),
    ('finetune', plan.fields),
  ):
    here = recipes.fields_of(plan.config(mode), fields)
    if mode == 'pretrain':  # it may have been given with --pretrained
      here = runs.config.iloc[0] or here
    paper = recipes.fields_of(plan.config(mode).partition(':')[0])
    changed = run_metadata.differences(here, paper, recipes.PLACES).items()
    columns[f'{mode}: paper'] = {f: str(theirs) for f, (_, theirs) in changed}
    columns[f'{mode}: here'] = {f: str(ours) for f, (ours, _) in changed}
  rows = pd.DataFrame(columns).sort_index().fillna('')
  rows.insert(0, 'field', [f'`{field}`' for field in rows.index])
  if rows.empty:
    return 'Every field of the configs has the value for the paper.'
  return _table(rows)


def _rates(plan: plan_lib.Plan, runs: pd.DataFrame) -> list[str]:
  """How the learning rates came about, for both arms alike."""
  if not plan.grid:
    return ['Not tuned (no `--tune`): all cells have that of the config.']
  tried, chosen = tuning.accuracies(runs), tuning.choose(plan, runs)
  texts = _texts(100 * tried).where(tried.notna(), 'diverged')
  grid, rows, edges = sorted(plan.grid), [], []
  for fraction in plan.fractions:
    for group, name in plan.spec.groups.items():
      key, row = (*group, fraction), {'labels': _share(fraction), 'what': name}
      rate = chosen.get(key, '-')
      for each in grid:
        text = texts.get((*key, each), '-')
        row[f'{each:g}'] = f'**{text}**' if each == rate else text
      rows.append({**row, 'chosen': rate})
      if rate in (grid[0], grid[-1]) and len(grid) > 1:
        edges.append(f'{name} at {_share(fraction)}')
  is_same = len(set(plan.tune_seeds)) == 1
  counts = ', '.join(map(str, plan.tune_seeds[: 1 if is_same else None]))
  return [
    'Chosen for each row by the mean validation accuracy (in %) of each rate '
    f'over its runs ({counts} for each share of the labels), whose seeds start '
    f'at {plan_lib.TUNING_SEED}; no cell has one of them, and the test set '
    'played no part. Ablations have the rates of the default.',
    _table(rows),
    'At the edge of the grid, so that a wider one may do better: '
    + (', '.join(edges) or 'none')
    + '.',
  ]


def _runs(runs: pd.DataFrame) -> str:
  """Every pretraining and cell, with its numbers."""
  columns = {'run': runs.name, 'learning rate': _texts(runs.rate, '{:g}')}
  columns['best step'] = _texts(runs.checkpoint, '{:.0f}')
  for name in ('patch_accuracy', 'chance', 'validation_accuracy'):
    columns[name.replace('_', ' ')] = _texts(100 * runs[name])
  columns['test accuracy'] = _texts(100 * runs.test_accuracy)
  columns['images/s'] = _texts(runs.images_per_second, '{:.0f}')
  return _table(columns | {'time': runs.wall_seconds.map(_time)})


def _machines(runs: pd.DataFrame) -> str:
  """Devices, versions and hours."""
  kinds = runs.devices.map('{0[count]} x {0[platform]} ({0[kind]})'.format)
  versions = runs.versions.map(
    lambda each: ', '.join(f'{name} {v}' for name, v in each.items())
  )
  keys = {'stage': runs.stage, 'devices': kinds, 'versions': versions}
  spent = runs.wall_seconds.groupby([*keys.values()], sort=False)
  rows = spent.agg(['size', 'sum']).set_axis(['runs', 'time'], axis=1)
  rows.loc['all', '', ''] = len(runs), runs.wall_seconds.sum()
  rows.runs, rows.time = rows.runs.astype(int), rows.time.map(_time)
  return _table(rows.rename_axis([*keys]).reset_index())


def _table(rows) -> str:
  """What a pandas.DataFrame is made of, in Markdown, but for empty columns."""
  frame = pd.DataFrame(rows).map(str)
  frame = frame.loc[:, (frame != '-').any()]
  lines = [frame.columns, ['---'] * frame.shape[1]]
  lines += frame.itertuples(index=False)
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _texts(values, form: str = '{:.1f}'):
  return values.map(lambda v: '-' if pd.isna(v) else form.format(v))


def _share(fraction: float) -> str:
  return f'{100 * fraction:g} %'


def _time(seconds: float) -> str:
  """Hours, minutes and seconds, '1:06:05'."""
  if pd.isna(seconds):
    return '-'
  return str(datetime.timedelta(seconds=round(seconds)))

"""The text of a report, in Markdown: tables of the paper's numbers and ours."""

from collections.abc import Iterable
import re

from selfie_jax.experiments import paper_tables
from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import recipes
from selfie_jax.experiments import report_facts
from selfie_jax.experiments import report_page
from selfie_jax.experiments import report_runs
from selfie_jax.experiments import statistics

Facts = report_facts.Facts

FIGURES = {
  'accuracy': 'Test accuracy against labels, and the difference',
  'ablations': 'Patch accuracy and finetuned accuracy of each choice',
  'pretraining': 'Patch accuracy on test images during pretraining',
  'tuning': 'Validation accuracy against the learning rate',
  'curves': 'Validation accuracy of each cell during finetuning',
}


def page(facts: Facts, command: str, figures: Iterable[str]) -> str:
  """The report in Markdown.

  Args:
    facts: what it is about.
    command: what was typed.
    figures: names of FIGURES that are there, as NAME.png beside the page.
  """
  plan = facts.plan

  def figure(*names: str) -> list[str]:
    return [f'![{FIGURES[n]}]({n}.png)' for n in names if n in figures]

  variant = f':{plan.variant}' if plan.variant else "the paper's setting"
  parts = [
    f'# {plan.experiment}, {variant}',
    _state(facts),
    '## Results',
    *(_ablations(facts) if plan.spec.ablates else _comparison(facts)),
    *figure('accuracy', 'ablations'),
    '## What differs from the paper',
    *_departures(facts),
    '## Learning rates',
    *report_runs.rates(facts),
    *figure('tuning'),
    '## Pretraining',
    *report_runs.pretrainings(facts),
    *figure('pretraining'),
    '## Cells',
    *figure('curves'),
    *report_runs.cells(facts),
    '## Machines, time and versions',
    *report_runs.machines(facts),
    '## Commands',
    *report_runs.commands(facts, command),
  ]
  return '\n\n'.join(parts) + '\n'


def percent(values: list[float]) -> str:
  """'50.7 ± 0.4', without the deviation for one value."""
  if not values:
    return '-'
  mean, std = statistics.mean_std(values)
  return f'{mean:.1f}' if std is None else f'{mean:.1f} ± {std:.1f}'


def _state(facts: Facts) -> str:
  """How much is there, and what is missing or failed."""
  cells = facts.jobs('cell') + facts.untuned
  done = [j for j in facts.jobs('cell') if facts.outcomes[j].results]
  if len(done) == len(cells):
    return f'All {len(cells)} cells are finished.'
  lines = [f'**{len(done)} of {len(cells)} cells are finished.** Missing:', '']
  left = {j: o for j, o in facts.outcomes.items() if not o.results}
  lines += [
    f'- {job.name}: failed: {_code(outcome.failure)}'
    for job, outcome in left.items()
    if outcome.failure and not (job.stage == 'tune' and outcome.diverged)
  ]
  for why, jobs in (
    ('not finished', [j for j, o in left.items() if not o.failure]),
    ('no learning rate chosen yet', facts.untuned),
  ):
    if jobs:
      lines.append(f'- {why}: {", ".join(_together(jobs))}')
  return '\n'.join(lines)


def _together(jobs: list[plan_lib.Job]) -> list[str]:
  """Names of jobs; those that differ only in seed or rate become one."""
  alike: dict[str, list[str]] = {}
  for job in jobs:
    varying = re.search(r'(?<=_rate|_seed)[^_]+$', job.name)
    first, last = varying.span() if varying else (len(job.name),) * 2
    name = job.name[:first] + '%s' + job.name[last:]
    alike.setdefault(name, []).append(job.name[first:last])
  return [
    name % (values[0] if len(values) == 1 else '{' + ','.join(values) + '}')
    for name, values in alike.items()
  ]


def _comparison(facts: Facts) -> list[str]:
  plan = facts.plan
  published = paper_tables.PUBLISHED[plan.experiment]
  one, two = plan.spec.groups
  names = [report_facts.group_name(plan, group) for group in (one, two)]
  rows = []
  for fraction in plan.fractions:
    keys = [(*group, fraction) for group in (one, two)]
    paper = [published.get(key) for key in keys]
    ours = [facts.accuracies(key) for key in keys]
    seeds = '-' if not any(ours) else ' + '.join(str(len(v)) for v in ours)
    row = [f'{100 * fraction:g} %']
    for known, values in zip(paper, ours, strict=True):
      row += ['{} ± {}'.format(*known) if known else '-', percent(values)]
    row.append(f'{paper[1][0] - paper[0][0]:+.1f}' if all(paper) else '-')
    rows.append(row + _difference(facts.difference(keys[1], keys[0])) + [seeds])
  head = ['labels']
  head += [f'{name}: {whose}' for name in names for whose in ('paper', 'ours')]
  head += [
    'difference: paper',
    'difference: ours',
    "Welch's 95 % interval",
    'runs',
  ]
  return [
    f'Test accuracy in %, mean ± standard deviation over seeds; difference: '
    f'{names[1]} - {names[0]}, in points. An interval that excludes zero is '
    'bold.',
    report_page.table(head, rows),
  ]


def _ablations(facts: Facts) -> list[str]:
  plan = facts.plan
  parts = [
    'Each row is a pretraining of its own with one choice changed, and '
    'ResNet-50 finetuned from it; the finetuning is the same for all. Patch '
    'accuracy is on test images, and chance is one of the masked patches. The '
    'difference is to the default, in points; an interval that excludes zero '
    'is bold.'
  ]
  for fraction in plan.fractions:
    key = (*plan.spec.groups[0], fraction)
    rows = []
    for start in facts.jobs('pretrain'):
      results = facts.outcomes[start].results
      metrics = results['metrics'] if results else {}
      patch, chance = (
        f'{100 * metrics[name]:.1f}' if results else '-'
        for name in ('patch_accuracy', 'chance')
      )
      values = facts.accuracies(key, start.choice)
      compared = (
        _difference(facts.difference(key, key, start.choice))
        if start.choice
        else ['', '']
      )
      name = f'`{start.choice}`' if start.choice else 'default'
      rows.append(
        [name, patch, chance, percent(values), *compared, str(len(values))]
      )
    head = ['choice', 'patch accuracy', 'chance', f'at {100 * fraction:g} %']
    head += ['difference', "Welch's 95 % interval", 'runs']
    parts.append(report_page.table(head, rows))
  default = recipes.fields_of(plan.config('pretrain'), plan.pretrain_fields)
  chosen = ', '.join(f'`{f}={default[f]}`' for f in plan_lib.CHOICES)
  return [*parts, f'The default has {chosen}.']


def _difference(found) -> list[str]:
  if found is None:
    return ['-', '-']
  difference, interval = found
  if interval is None:
    return [f'{difference:+.1f}', '-']
  low, high = interval
  text = f'{low:+.1f} to {high:+.1f}'
  return [f'{difference:+.1f}', f'**{text}**' if low * high > 0 else text]


def _departures(facts: Facts) -> list[str]:
  """Fields in which the jobs differ from the configs without a variant."""
  plan = facts.plan
  found = {}
  for mode, fields in (
    ('pretrain', plan.pretrain_fields),
    ('finetune', plan.fields),
  ):
    here = recipes.fields_of(plan.config(mode), fields)
    if mode == 'pretrain':  # it may have been given with --pretrained
      (start, *_) = facts.jobs('pretrain')
      here = facts.outcomes[start].config or here
    paper = recipes.fields_of(plan.config(mode).partition(':')[0])
    found[mode] = recipes.differences(paper, here)
  rows = [
    [f'`{field}`']
    + [str(v) for mode in found for v in found[mode].get(field, ('', ''))]
    for field in sorted({*found['pretrain'], *found['finetune']})
  ]
  head = ['field', 'pretraining: paper', 'here', 'finetuning: paper', 'here']
  parts = [
    report_page.table(head, rows)
    if rows
    else 'Every field of the configs has the value for the paper.'
  ]
  seeds = ', '.join(
    f'{n} at {100 * f:g} %'
    for f, n in zip(plan.fractions, plan.seeds, strict=True)
  )
  left_out = [
    f'{100 * f:g} %' for f in plan.spec.fractions if f not in plan.fractions
  ]
  parts.append(
    f'Seeds: {seeds}; the paper has five.'
    + (f' Left out: {", ".join(left_out)} of the labels.' if left_out else '')
    + ' Where the paper is silent, its column has the choice of this project: '
    'see the README.'
  )
  return parts


def _code(text: str) -> str:
  return f'`{text.replace("`", chr(39))[:300]}`'

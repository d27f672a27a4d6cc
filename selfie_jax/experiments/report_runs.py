"""The parts of a report about its runs: rates, cells, machines, commands."""

import collections

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import report_facts
from selfie_jax.experiments import report_page

Facts = report_facts.Facts


def rates(facts: Facts) -> list[str]:
  """How the learning rates came about, for both arms alike."""
  plan = facts.plan
  if not plan.grid:
    return [
      'Not tuned (no `--tune`): all cells, of both arms, have the learning '
      'rate of the config or of `--set`.'
    ]
  grid = sorted(plan.grid)
  keys = dict.fromkeys(job.key for job in facts.jobs('tune'))
  rows, edges = [], []
  for key in keys:
    arm, network, fraction = key
    tried, chosen = facts.tried.get(key, {}), (facts.rates or {}).get(key)
    row = [arm, report_facts.NETWORK_NAMES[network], f'{100 * fraction:g} %']
    for rate in grid:
      value = tried.get(rate)
      text = 'diverged' if rate in tried else '-'
      text = text if value is None else f'{100 * value:.1f}'
      row.append(f'**{text}**' if rate == chosen else text)
    rows.append([*row, '-' if chosen is None else f'{chosen:g}'])
    if chosen in (grid[0], grid[-1]) and len(grid) > 1:
      edges.append(f'{arm} at {100 * fraction:g} % ({chosen:g})')
  head = ['arm', 'network', 'labels', *(f'{r:g}' for r in grid), 'chosen']
  parts = [
    'Chosen for each row by the validation accuracy (in %) of each rate of the '
    f'grid, {_tune_seeds(plan)}. The seeds start at {plan_lib.TUNING_SEED}; '
    'no cell has one of them. Both arms have the same grid, seeds, steps and '
    'batch; the test set played no part.'
    + (
      ' Ablations have the rates of the default.'
      if facts.plan.spec.ablates
      else ''
    ),
    report_page.table(head, rows),
  ]
  if edges:
    parts.append(
      'At the edge of the grid, so that a wider one may do better: '
      + ', '.join(edges)
      + '.'
    )
  return parts


def _tune_seeds(plan: plan_lib.Plan) -> str:
  counts = plan.tune_seeds or (1,) * len(plan.fractions)
  if max(counts) == 1:
    return 'one run each'
  runs = ', '.join(
    f'{count} at {100 * fraction:g} %'
    for fraction, count in zip(plan.fractions, counts, strict=True)
  )
  return f'the mean over its runs ({runs})'


def pretrainings(facts: Facts) -> list[str]:
  """Patch accuracy at the end."""
  rows = []
  for job in facts.jobs('pretrain'):
    if results := facts.outcomes[job].results:
      metrics = results['metrics']
      rows.append(
        [
          job.name,
          f'{100 * metrics["patch_accuracy"]:.1f} %',
          f'{100 * metrics["chance"]:.1f} %',
          str(results['step']),
          _rate(results),
          _time(results['wall_seconds']),
        ]
      )
  if not rows:
    return ['Not finished.']
  head = ['run', 'patch accuracy', 'chance', 'steps', 'images/s', 'time']
  return [report_page.table(head, rows)]


def cells(facts: Facts) -> list[str]:
  """Every cell and run of the tuning, with its numbers."""
  rows = []
  for job in facts.jobs('cell'):
    results, config = facts.outcomes[job].results, facts.outcomes[job].config
    if not results:
      rows.append([job.name, *['-'] * 5])
      continue
    metrics = results['metrics']
    accuracies = (metrics['validation_accuracy'], metrics['test_accuracy'])
    rows.append(
      [
        job.name,
        f'{config["optimizer.learning_rate"]:g}',
        f'{results["checkpoint"]} of {results["total_steps"]}',
        *(f'{100 * v:.1f}' if v is not None else '-' for v in accuracies),
        _time(results['wall_seconds']),
      ]
    )
  head = ['cell', 'learning rate', 'best step', 'validation', 'test', 'time']
  return [
    'Validation and test accuracy in %, of the step that was best on the '
    'validation part; the test set was read once, at that step.',
    report_page.table(head, rows),
  ]


def machines(facts: Facts) -> list[str]:
  """Devices, versions and hours, of all finished runs."""
  finished = [o.results for o in facts.outcomes.values() if o.results]
  if not finished:
    return ['Nothing is finished.']
  kinds = collections.Counter(
    '{count} x {platform} ({kind})'.format(**r['devices']) for r in finished
  )
  versions = collections.Counter(
    ', '.join(f'{name} {v}' for name, v in r['versions'].items())
    for r in finished
  )
  spent = {
    stage: sum(
      facts.outcomes[job].results['wall_seconds']
      for job in facts.jobs(stage)
      if facts.outcomes[job].results
    )
    for stage in plan_lib.STAGES
  }
  words = {'pretrain': 'pretraining', 'tune': 'tuning', 'cell': 'cells'}
  rows = [
    ['devices', _counts(kinds)],
    ['versions', _counts(versions)],
    *([f'time of {words[s]}', _time(t)] for s, t in spent.items() if t),
    ['time of all', _time(sum(spent.values()))],
  ]
  return [
    report_page.table(['what', 'value'], rows),
    "Times are the runs' own, added up: training, evaluation and checkpoints, "
    'without the start of the process and the reading of the data; of a run '
    'that was interrupted, since it was last started.',
  ]


def commands(facts: Facts, command: str) -> list[str]:
  """What was typed, and what each job is."""
  plan = facts.plan
  given = [
    f'`{flag} {field}={value}`'
    for flag, fields in (
      ('--set', plan.fields),
      ('--pretrain_set', plan.pretrain_fields),
    )
    for field, value in fields
  ]
  return [
    f'```text\n{command}\n```',
    'Overrides of the recipe: ' + (', '.join(given) or 'none') + '.',
    'The jobs that it is made of:',
    '```text\n' + '\n'.join(facts.commands) + '\n```',
  ]


def _counts(counter: collections.Counter) -> str:
  if len(counter) == 1:
    return next(iter(counter))
  return '; '.join(f'{text}: {n} runs' for text, n in counter.most_common())


def _rate(results) -> str:
  rate = results['images_per_second']
  return f'{rate:.0f}' if rate else '-'


def _time(seconds: float) -> str:
  """'1 h 05 min', '12 min', '40 s'."""
  if seconds < 90:
    return f'{seconds:.0f} s'
  hours, minutes = divmod(round(seconds / 60), 60)
  return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min'

"""The tables of README.md, docs/results.md and docs/results/README.md."""

import itertools
import json

import pandas as pd
import pytest

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import statistics
from selfie_jax.models import features

DOCS = plan_lib.ROOT / 'docs'
STORED = DOCS / 'results'
SHIPPED = str(DOCS / 'pretrained' / 'cifar_small')


def rows_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def fill(form, folder, plan):
  """The form for each row of the report's table that has a baseline."""
  path = STORED / folder / plan.title / 'runs.jsonl'
  runs = results_lib.read(plan, path)
  assert runs.finished.all()
  texts = []
  for _, group in statistics.compare(plan, runs).groupby('fraction'):
    other, *others = (row for _, row in group.iterrows())
    texts += [
      form.format(
        kind=row.kind,
        share=f'{100 * row.fraction:g} %',
        other=f'{other["mean"]:.1f} ± {other["std"]:.1f}',
        ours=f'{row["mean"]:.1f} ± {row["std"]:.1f}',
        ahead=f'{row.ahead:+.1f}',
        interval=f'{row.low:+.1f} to {row.high:+.1f}',
        paper=f'{row.paper_ahead:+.1f}'.replace('+0.0', '0.0'),
      )
      for row in others
    ]
  return texts


MAIN = 'cifar_labels', (0.05, 0.08, 0.2), (3, 3, 3), (1, 1, 1), (0.1, 0.3)
ALL = 'cifar_labels', (1.0,), (3,), (), (), (('total_steps', '10000'),)
GRID = (0.03, 0.1, 0.3, 0.4)
RATES = 'cifar_labels', (0.05, 0.08), (3, 3), (3, 3), GRID
TINY = (('dataset.name', 'tiny_imagenet/64x64_30_classes'),)
SECOND = (
  'imagenet32_labels',
  (0.05, 0.1, 0.2, 1.0),
  (3,) * 4,
  (1,) * 4,
  (0.1, 0.3),
)
SECOND += (TINY + (('total_steps', '1000'),), TINY + (('total_steps', '5000'),))
LONG = SECOND[0], (0.2,), (3,), (1,), *SECOND[4:6]
LONG += (TINY + (('total_steps', '15000'),),)
FROM_CIFAR = SECOND[0], (0.2,), (3,), (1,), *SECOND[4:6]
RATE = (('optimizer.learning_rate', '0.1'),)
ATTENTION = 'cifar_attention_labels', (0.08,), (3,), (), (), RATE
SECOND_ATTENTION = 'imagenet32_attention_labels', (0.2,), (3,), (), ()
SECOND_ATTENTION += (SECOND[5] + RATE, SECOND[6])
STEPS = (('total_steps', '300'),), (('total_steps', '1000'),)
ABLATIONS = 'cifar_ablations', (0.08,), (3,), (), (), *STEPS
IMAGENETTE = (
  ('dataset.name', 'imagenette224/subset'),
  ('dataset.test_split', 'validation'),
)
PHOTOS = 'photos_labels', (0.1112,), (3,), (1,), (0.1, 0.3)
PHOTOS += tuple(IMAGENETTE + steps for steps in STEPS)
FORM = '| {share} | {other} | {ours} | {ahead} | {interval} |'
OF_SECOND = FORM.replace('share} |', 'share} | 5,000 steps |') + ' {paper} |\n'
OF_LONG = FORM.removeprefix('| {share}') + ' {paper} |\n'
OF_FROM_CIFAR = FORM.removeprefix('| {share}') + ' |\n'
OF_ATTENTION = '{other} % from random weights and {ours} from Selfie:\n'
OF_ATTENTION += '{ahead} ({interval}), '
OF_PHOTOS = 'steps: {other} % and\n{ours}, {ahead} ({interval}; [every run]'
OF_ALL = '{other} %\n   and Selfie {ours}, three seeds: {ahead} ({interval})'
PROBED = 5  # features


def make_plan(flags):
  experiment, *others = flags
  return plan_lib.Plan(
    experiment,
    'small',
    *others,
    workdir='none',
    pretrained=SHIPPED if flags is FROM_CIFAR else '',
    pretrain_seeds=3 if flags is MAIN else 1,
  )


@pytest.mark.parametrize(
  'document, form, folder, flags',
  [
    ('README.md', '{share} | {other} | **{ours}** | {interval} |', '', MAIN),
    ('README.md', '{other} and {ours} ({interval}).', 'all_labels', ALL),
    ('docs/results.md', f'{FORM} {{paper}} |\n', '', MAIN),
    ('docs/results.md', OF_ALL, 'all_labels', ALL),
    ('docs/results/README.md', f'{FORM}\n', 'learning_rates', RATES),
    ('docs/results.md', OF_SECOND, '', SECOND),
    ('docs/results.md', OF_LONG, 'imagenet32_long', LONG),
    ('docs/results.md', OF_FROM_CIFAR, 'imagenet32_from_cifar', FROM_CIFAR),
    ('docs/results.md', OF_ATTENTION, '', ATTENTION),
    ('docs/results.md', OF_PHOTOS, '', PHOTOS),
    ('docs/results.md', OF_FROM_CIFAR, '', SECOND_ATTENTION),
  ],
)
def test_tables_are_those_of_the_stored_runs(document, form, folder, flags):
  text = (plan_lib.ROOT / document).read_text()
  rows = fill(form, folder, make_plan(flags))
  assert rows and [row for row in rows if row not in text] == []


def test_choices_are_those_of_the_stored_runs():
  """The difference of each; the interval of the one that has no zero in it."""
  text = ' '.join((DOCS / 'results.md').read_text().split())
  choices = fill('{kind}|{other}|{ahead}|{interval}', '', make_plan(ABLATIONS))
  assert len(choices) == 11
  for row in choices:
    kind, default, ahead, interval = row.split('|')
    assert f'The default gives {default} %' in text
    low, high = map(float, interval.split(' to '))
    shown = '' if low < 0 < high else f' ({interval})'
    assert f'`{kind}` {ahead}{shown}' in text


def test_learning_rates_are_those_of_the_stored_runs():
  """Means over the seeds in %; the best of a share is bold."""
  text = (STORED / 'README.md').read_text()
  stored = STORED / 'learning_rates' / 'cifar_labels_small' / 'runs.jsonl'
  runs = pd.DataFrame(
    {
      'share': row['config']['label_fraction'],
      'rate': row['config']['optimizer.learning_rate'],
      'arm': row['arm'],
      'validation': row['metrics']['validation_accuracy'],
      'test': row['metrics']['test_accuracy'],
    }
    for row in rows_of(stored)
    if row['stage'] == 'tune'
  )
  tried = runs.groupby(['share', 'rate', 'arm'])
  assert len(tried) == 2 * 4 * 2 and (tried.size() == 3).all()
  validation = 100 * tried.validation.mean()
  test = 100 * tried.test.agg(['mean', 'std'])
  best = validation.groupby(['share', 'arm']).idxmax().tolist()
  for share, rate in {key[:2] for key in validation.index}:
    cells = [f'{100 * share:.0f} %', f'{rate}']
    for key in (share, rate, 'supervised'), (share, rate, 'selfie'):
      mean = f'{validation[key]:.1f}'
      cells.append(f'**{mean}**' if key in best else mean)
      cells.append('{mean:.1f} ± {std:.1f}'.format(**test.loc[key]))
    assert f'| {" | ".join(cells)} |\n' in text


def test_probes_are_those_that_are_stored():
  """A row of results.md for each of the features: linear, neighbours."""
  text = (DOCS / 'results.md').read_text()
  stored = STORED / 'cifar_probes_small' / 'results.json'
  probed = {}
  for row in json.loads(stored.read_text())['probes']:
    found = probed.setdefault(row['features'], {})
    accuracy = f' {100 * row["test_accuracy"]:.1f} '
    found[row['probe'], row['weights'] or 'pretrained'] = accuracy
  assert len(probed) == PROBED
  columns = [*itertools.product(('linear', 'knn'), ('pretrained', 'random'))]
  for found in probed.values():
    row = '|'.join(found.get(column, ' ') for column in columns)
    assert f' |{row}|\n' in text


def test_the_default_embedding_probes_best_on_held_out_training_images():
  """Of the run whose accuracies on test images chose nothing."""
  text = (DOCS / 'results.md').read_text()
  stored = STORED / 'cifar_probes_small' / 'choice.json'
  linear = {
    row['features']: 100 * row['validation_accuracy']
    for row in json.loads(stored.read_text())['probes']
    if row['weights'] == 'pretrained' and row['probe'] == 'linear'
  }
  default, *others = features.LAYERS['selfie']
  best = linear.pop(default)
  assert sorted(linear) == sorted(others)
  low, high = min(linear.values()), max(linear.values())
  assert f'{best:.1f}, others {low:.1f} to {high:.1f}.\n' in text
  assert best > high


def test_shapes_are_those_of_the_stored_runs():
  """Each network's row in results/README.md: steps, and accuracies in %."""
  text = (STORED / 'README.md').read_text()
  shapes = {}
  for row in rows_of(STORED / 'cifar_shapes_small' / 'shapes.jsonl'):
    shapes.setdefault(row['shape'], {})[row['arm'] or row['stage']] = row
  assert len(shapes) > 3
  for runs in shapes.values():
    start, steps = runs['pretrain'], runs['selfie']['config']['total_steps']
    model = start['config']
    linear = {
      row['weights']: row['test_accuracy']
      for row in runs['probe']['probes']
      if row['probe'] == 'linear'
    }
    accuracies = (
      start['metrics']['patch_accuracy'],
      *(runs[a]['metrics']['test_accuracy'] for a in ('supervised', 'selfie')),
      *(linear[weights] for weights in ('pretrained', 'random')),
    )
    cells = [
      f', {model["model.width"]}, {"-".join(map(str, model["model.depths"]))}',
      f'{model["total_steps"]:,}; {steps:,}',
      *(f'{100 * value:.1f}' for value in accuracies),
    ]
    assert f'{" | ".join(cells)} |' in text

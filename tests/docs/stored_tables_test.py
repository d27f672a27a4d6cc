"""The tables of runs in docs/results, and what the documents say of them."""

import json
import re

import pandas as pd
import pytest

from selfie_jax.experiments import recipes

DOCS = recipes.ROOT / 'docs' / 'results'


def table_of(report):
  """The rows of a report's results, by column: one a fraction and kind."""
  lines = report.partition('## Results')[2].partition('\n![')[0].splitlines()
  head, _, *rows = (
    [cell.strip(' *') for cell in line.strip('| ').split('|')]
    for line in lines
    if line.startswith('|')
  )
  return [dict(zip(head, row, strict=True)) for row in rows]


def rows_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize('path', sorted(DOCS.rglob('runs.jsonl')), ids=str)
def test_stored_tables_are_whole(path):
  rows, beside = rows_of(path), path.parent.parent.glob('*/runs.jsonl')
  assert len({row['name'] for row in rows}) == len(rows) > 1
  starts = [
    row['weights']
    for table in beside
    for row in rows_of(table)
    if row['stage'] == 'pretrain'
  ]
  for row in rows:
    assert ('metrics' in row) != ('failure' in row)
    assert (row['arm'] == 'selfie') == ('pretraining' in row)
    start = row.get('pretraining')
    if isinstance(start, str):  # not in those of 0.1.0
      assert start in starts


_LONG = '| {share} | {other} | {ours} | {ahead} | {interval} | {paper} |'


@pytest.mark.parametrize(
  'document, folder, form',
  [
    (
      'README.md',
      'second_pretraining/cifar_labels_small',
      '| {share} | {other} | **{ours}** | {interval} |',
    ),
    ('docs/results.md', 'second_pretraining/cifar_labels_small', _LONG),
    (
      'docs/results.md',
      'all_labels/cifar_labels_small',
      '{other} % and\n  Selfie {ours}, three seeds: {ahead} ({interval})',
    ),
    (
      'README.md',
      'all_labels/cifar_labels_small',
      'three seeds, longer finetuning: {other} and {ours} ({interval}).',
    ),
    (
      'docs/results.md',
      'all_labels_shorter/cifar_labels_small',
      '{other} % and\n  {ours}, three seeds: {ahead} ({interval})',
    ),
    (
      'docs/results.md',
      'learning_rates/cifar_labels_small',
      '| {share} | {other} | {ours} | {ahead} | {interval} |\n',
    ),
    (
      'docs/results.md',
      'cifar_labels_small',
      '| {share} | {other} | {ours} | {ahead} | {interval} |\n',
    ),
    (
      'docs/results.md',
      'cifar_attention_labels_small',
      '| ResNet-36 + attention | 0.1 | 3 | {other} | {ours} | {ahead} | '
      '{interval} |',
    ),
    ('docs/results/0.1.0/README.md', '0.1.0/cifar_labels_small', _LONG),
  ],
)
def test_documented_numbers_are_those_of_the_stored_runs(
  document, folder, form
):
  """Every row of the report's table of cifar_labels."""
  text = (recipes.ROOT / document).read_text()
  report = (DOCS / folder / 'report.md').read_text()
  assert re.search(r'All \d+ cells are finished', report)
  rows = table_of(report)
  assert rows
  for supervised, selfie in zip(rows[::2], rows[1::2], strict=True):
    expected = form.format(
      share=selfie['labels'],
      other=supervised['ours'],
      ours=selfie['ours'],
      ahead=selfie['ours ahead by'],
      interval=selfie['95 % interval'],
      paper=selfie.get('paper ahead by', '').replace('+0.0', '0.0'),
    )
    assert expected in text


@pytest.mark.parametrize(
  'folder', ['', 'shorter_pretraining', 'unshifted_pretraining']
)
def test_documented_pretrainings_are_those_of_the_stored_runs(folder):
  text = (recipes.ROOT / 'docs' / 'results.md').read_text()
  runs = rows_of(DOCS / folder / 'cifar_labels_small' / 'runs.jsonl')
  start = next(row for row in runs if row['stage'] == 'pretrain')
  probe = DOCS / folder / 'cifar_probes_small' / 'results.json'
  probed = json.loads(probe.read_text())['metrics']
  values = (
    start['metrics']['patch_accuracy'],
    probed['pretrained_quadrants_linear'],
    probed['pretrained_quadrants_knn'],
  )
  patches, *features = (f'{100 * value:.1f}' for value in values)
  report = (DOCS / folder / 'cifar_labels_small' / 'report.md').read_text()
  selfie = next(
    row
    for row in table_of(report)
    if (row['labels'], row['what']) == ('8 %', 'Selfie')
  )
  columns = 'ours', 'ours ahead by', '95 % interval'
  cells = ' | '.join([*features, *(selfie[column] for column in columns)])
  assert re.search(rf'\| {patches} \| [\d.]+ \| {re.escape(cells)} \|', text)


def test_documented_learning_rates_are_those_of_the_stored_runs():
  """Means over the seeds in results.md, in %; the best of a share is bold."""
  text = (recipes.ROOT / 'docs' / 'results.md').read_text()
  stored = DOCS / 'learning_rates' / 'cifar_labels_small' / 'runs.jsonl'
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


def test_documented_time_is_that_of_the_stored_runs():
  """Of each run behind the tables of finetuning in results.md, once."""
  text = (recipes.ROOT / 'docs' / 'results.md').read_text()
  seconds = {
    (row['name'], row['config']['optimizer.learning_rate']): row['wall_seconds']
    for folder in ('', 'learning_rates', 'all_labels')
    for path in (DOCS / folder).glob('cifar*labels_small/runs.jsonl')
    for row in rows_of(path)
  }
  hours = sum(seconds.values()) / 3600
  assert f'{len(seconds)} runs, {hours:.1f} hours of a core' in text


def test_documented_probes_are_those_that_are_stored():
  """A row of results.md for each of the features: linear, neighbours."""
  text = (recipes.ROOT / 'docs' / 'results.md').read_text()
  stored = DOCS / 'cifar_probes_small' / 'results.json'
  features = {}
  for row in json.loads(stored.read_text())['probes']:
    assert row.get('has_converged', True)
    accuracy = f'{100 * row["test_accuracy"]:.1f}'
    features.setdefault(row['features'], {})[row['probe'], row['weights']] = (
      accuracy
    )
  assert len(features) == 6
  for found in features.values():
    cells = [
      found.get((probe, weights), '')
      for probe in ('linear', 'knn')
      for weights in ('pretrained', 'random')
    ]
    if not any(cells):  # pixels have no weights
      cells = [found['linear', None], '', found['knn', None], '']
    row = '|'.join(f' {cell} ' if cell else ' ' for cell in cells)
    assert f' |{row}|\n' in text


def test_documented_ablation_is_that_of_the_stored_runs():
  text = (recipes.ROOT / 'docs' / 'results.md').read_text()
  report = (DOCS / 'cifar_ablations_small' / 'report.md').read_text()
  rows = table_of(report)
  assert re.search(r'All \d+ cells are finished', report) and len(rows) > 10
  for _, choice, *numbers, _ in (row.values() for row in rows):
    name = choice if choice == 'default' else f'`{choice}`'
    assert f'| {" | ".join([name, *numbers])} |' in text


def test_documented_shapes_are_those_of_the_stored_runs():
  """Each network's row in results.md: steps, and accuracies in %."""
  text = (recipes.ROOT / 'docs' / 'results.md').read_text()
  shapes = {}
  for row in rows_of(DOCS / 'cifar_shapes_small' / 'shapes.jsonl'):
    shapes.setdefault(row['shape'], {})[row['arm'] or row['stage']] = row
  assert len(shapes) > 3
  for runs in shapes.values():
    start, finetuned = runs['pretrain'], runs['selfie']
    model = start['config']
    stem = {'patch2': '2x2', 'patch4': '4x4', 'conv3': '3x3'}
    network = (
      f'{stem[model["model.stem"]]}, {model["model.width"]}, '
      f'{"-".join(map(str, model["model.depths"]))}'
    )
    steps = f'{model["total_steps"]:,}; {finetuned["config"]["total_steps"]:,}'
    linear = {
      row['weights']: row['test_accuracy']
      for row in runs['probe']['probes']
      if row['probe'] == 'linear'
    }
    accuracies = (
      start['metrics']['patch_accuracy'],
      runs['supervised']['metrics']['test_accuracy'],
      finetuned['metrics']['test_accuracy'],
      linear['pretrained'],
      linear['random'],
    )
    cells = [network, steps, *(f'{100 * value:.1f}' for value in accuracies)]
    assert f'| {" | ".join(cells)} |' in text

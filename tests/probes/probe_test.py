"""The probes of a run: what they find, what they say, what they refuse."""

import functools
import json
import operator

import numpy as np
import pytest

from configs import cifar_probe
from selfie_jax import compare
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.probes import probe
from selfie_jax.training import evaluation

LAYERS = {
  'pretrain': ['quadrants', 'patches', 'block3', 'attention'],
  'finetune': ['block3', 'block4'],
}


def job(run, **fields):
  config = cifar_probe.get_config('tiny')
  config.dataset.name = 'digits'
  config.label_fraction = 0.3
  config.probe.max_iter = 10
  config.init_from = str(run)
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def probed(finished, tmp_path_factory):
  """mode of the run -> the folder of its probe."""

  @functools.cache
  def run(mode):
    folder = tmp_path_factory.mktemp('probe')
    steps = (6, 3) if mode == 'pretrain' else ()  # () means the newest
    probe.run(job(finished(mode), init_steps=steps), folder)
    return folder

  return run


def read(folder):
  return json.loads((folder / 'results.json').read_text())


@pytest.mark.parametrize(
  'mode, weights', [('pretrain', 'pretrained'), ('finetune', 'finetuned')]
)
def test_every_feature_is_better_than_chance(finished, probed, mode, weights):
  results = read(probed(mode))
  names = ['pixels'] + [
    f'{w}_{layer}' for w in (weights, 'random') for layer in LAYERS[mode]
  ]
  names = {f'{name}_{kind}' for name in names for kind in probe.PROBES}
  metrics = results['metrics']
  assert metrics.keys() == names | {'chance'}
  assert metrics['chance'] == pytest.approx(0.1, abs=0.02)
  # 300 images: three standard deviations above chance are 16 %.
  assert all(metrics[name] > 0.16 for name in names), metrics
  assert metrics['pixels_linear'] > 0.85 and metrics['pixels_knn'] > 0.85
  for row in results['probes']:
    if row['checkpoint'] != 3:
      words = row['weights'], row['features'], row['probe']
      assert row['test_accuracy'] == metrics['_'.join(filter(None, words))]
    if row['probe'] == 'linear':
      assert row['strength'] in (1e-3, 1e-1) and row['is_end_of_grid']
  assert results['checkpoint'] == read(finished(mode))['checkpoint']


def test_several_checkpoints_share_what_does_not_change(probed):
  results = read(probed('pretrain'))
  assert results['checkpoint'] == 6 and results['checkpoints'] == [3, 6]
  linear = [row for row in results['probes'] if row['probe'] == 'linear']
  networks = ('pretrained', 3), ('pretrained', 6), ('random', None)
  layers = LAYERS['pretrain']
  expected = [(*network, layer) for network in networks for layer in layers]
  titles = operator.itemgetter('weights', 'checkpoint', 'features')
  assert [*map(titles, linear)] == [*expected, (None, None, 'pixels')]
  older, newer = (
    [row['test_accuracy'] for row in linear if row['checkpoint'] == step]
    for step in (3, 6)
  )
  assert older != newer


def test_folder_is_that_of_a_run(probed):
  folder = probed('pretrain')
  results = read(folder)
  assert results.keys() >= {'mode', 'dataset', 'initialised_from', 'seed'}
  assert json.loads((folder / 'config.json').read_text())['mode'] == 'probe'
  assert (folder / 'figures' / 'probes.png').stat().st_size > 10_000
  assert results['images'] == {'train': 399, 'validation': 50, 'test': 300}
  assert 'pixels linear' in '\n'.join(compare.describe(results))


def test_only_some_features(finished, probed, tmp_path):
  config = job(finished('finetune'), **{'probe.features': 'block3'})
  rows = probe.run(config, tmp_path)['probes']
  every = read(probed('finetune'))['probes']
  every = [row for row in every if row['features'] == 'block3']
  for row, expected in zip(rows, every, strict=True):
    for name in ('weights', 'checkpoint', 'probe', 'dim'):
      assert row[name] == expected[name]
    # Another program may round differently; 300 images.
    assert row['test_accuracy'] == pytest.approx(
      expected['test_accuracy'], abs=0.03
    )


def test_labels_are_the_subset_that_finetuning_has(finished, finetune_config):
  finetune_config.label_fraction = 0.3
  sources = [
    batches_lib.open_source(finetune_config, split)
    for split in ('train', 'test')
  ]
  indices, splits = evaluation.choose_splits(finetune_config, *sources)
  config = job(finished('pretrain'))
  own, _ = probe._open_splits(config, model_lib.load(config.init_from).config)
  assert len(indices) + len(splits['validation'][1]) == 449  # 30 %
  np.testing.assert_array_equal(own['train'][1], indices)
  np.testing.assert_array_equal(own['validation'][1], splits['validation'][1])


def test_a_finished_probe_is_read(finished, probed, log_messages, monkeypatch):
  run, folder = finished('finetune'), probed('finetune')
  monkeypatch.delattr(model_lib, 'load')
  assert probe.run(job(run), folder) == read(folder)
  assert 'is finished' in log_messages.text
  with pytest.raises(errors.UserError, match=r'neighbours \(20 -> 3\)'):
    probe.run(job(run, **{'probe.neighbours': 3}), folder)


@pytest.mark.parametrize(
  'says, fields',
  [
    ('is not a run', {'init_from': '.'}),
    ('no checkpoint of step 5, but of 3, 6', {'init_steps': (5,)}),
    ('leaves no validation image', {'label_fraction': 0.005}),
    ("'block4' is not valid.*quadrants,", {'probe.features': 'block4'}),
    ("'train' .1,497 images", {'dataset.train_split': 'everything'}),
  ],
)
def test_mistakes_are_errors(finished, tmp_path, says, fields):
  with pytest.raises(errors.UserError, match=says):
    probe.run(job(finished('pretrain'), **fields), tmp_path)
  assert not (tmp_path / 'results.json').exists()

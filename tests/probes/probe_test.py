"""The probes of a run: what they find, what they say, what they refuse."""

import json

import numpy as np
import pytest

from configs import cifar_probe
from selfie_jax import compare
from selfie_jax import errors
from selfie_jax import figures as figures_lib
from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.probes import probe
from selfie_jax.probes import report


def job(run, **fields):
  config = cifar_probe.get_config('tiny')
  config.dataset.name = 'digits'
  config.label_fraction = 0.3
  config.init_from = str(run)
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def probed(finished, tmp_path_factory):
  """mode of the run -> the folder of its probe."""
  folders = {}

  def run(mode):
    if mode not in folders:
      folders[mode] = tmp_path_factory.mktemp('probe')
      probe.run(job(finished(mode)), folders[mode])
    return folders[mode]

  return run


def read(folder):
  return json.loads((folder / 'results.json').read_text())


@pytest.mark.parametrize(
  'mode, weights, layers',
  [
    (
      'pretrain',
      'pretrained',
      ['quadrants', 'patches', 'block3', 'attention', 'block3_adapted'],
    ),
    ('finetune', 'finetuned', ['block3', 'block4']),
  ],
)
def test_every_feature_is_probed_and_better_than_chance(
  probed, mode, weights, layers
):
  results = read(probed(mode))
  names = {
    f'{whose}_{layer}_{kind}'
    for whose in (weights, 'random')
    for layer in layers
    for kind in ('linear', 'knn')
  }
  names |= {'pixels_linear', 'pixels_knn'}
  metrics = results['metrics']
  assert metrics.keys() == names | {'chance'}
  assert metrics['chance'] == pytest.approx(0.1, abs=0.02)
  # 300 images: three standard deviations above chance are 16 %.
  assert all(metrics[name] > 0.16 for name in names), metrics
  assert metrics['pixels_linear'] > 0.85 and metrics['pixels_knn'] > 0.85
  for row in results['probes']:
    assert row['test_accuracy'] == metrics[report.name(row)]
    assert 0 < row['validation_accuracy'] <= 1
    if row['probe'] == 'linear':
      assert row['strength'] in (1e-3, 1e-1) and row['is_end_of_grid']
  assert results['checkpoint'] == results_of_run(probed(mode))['checkpoint']


def results_of_run(folder):
  config = json.loads((folder / 'config.json').read_text())
  with open(f'{config["init_from"]}/results.json') as file:
    return json.load(file)


def test_only_some_features(finished, probed, tmp_path):
  wanted = {'block3_adapted', 'attention'}
  config = job(finished('pretrain'), **{'probe.features': ','.join(wanted)})
  results = probe.run(config, tmp_path)
  every = [
    row
    for row in read(probed('pretrain'))['probes']
    if row['features'] in wanted
  ]
  assert [report.title(row) for row in results['probes']] == [
    report.title(row) for row in every
  ]
  for row, same in zip(results['probes'], every, strict=True):
    # Another program may round differently; 300 images.
    assert row['test_accuracy'] == pytest.approx(
      same['test_accuracy'], abs=0.03
    )
  curves = report.draw_lengths(results).axes[0].get_lines()
  assert {line.get_label() for line in curves} == wanted | {'chance'}


def test_folder_is_that_of_a_run(probed):
  folder = probed('pretrain')
  results = read(folder)
  assert results.keys() >= {
    'mode', 'dataset', 'initialised_from', 'checkpoint', 'seed',
    'label_fraction', 'metrics', 'wall_seconds', 'devices', 'versions',
  }  # fmt: skip
  assert json.loads((folder / 'config.json').read_text())['mode'] == 'probe'
  assert (folder / 'figures' / 'probes.png').stat().st_size > 10_000
  assert results['images'] == {'train': 399, 'validation': 50, 'test': 300}
  assert 'pixels linear' in '\n'.join(compare.describe(results))


def test_labels_are_the_subset_that_finetuning_has(probed, finetune_config):
  from selfie_jax.training import evaluation

  finetune_config.label_fraction = 0.3
  sources = [
    batches_lib.open_source(finetune_config, split)
    for split in ('train', 'test')
  ]
  indices, splits = evaluation.choose_splits(finetune_config, *sources)
  folder = probed('pretrain')
  config = job(json.loads((folder / 'config.json').read_text())['init_from'])
  own, _ = probe._open(config, model_lib.load(config.init_from))
  np.testing.assert_array_equal(own['train'][1], indices)
  np.testing.assert_array_equal(own['validation'][1], splits['validation'][1])


def test_a_finished_probe_is_read_and_another_refused(
  finished, probed, log_messages, monkeypatch
):
  folder = probed('pretrain')
  monkeypatch.delattr(model_lib, 'load')
  assert probe.run(job(finished('pretrain')), folder) == read(folder)
  assert 'is finished' in log_messages.text
  other = job(finished('pretrain'), **{'probe.neighbours': 3})
  with pytest.raises(errors.UserError, match=r'neighbours \(20 -> 3\)'):
    probe.run(other, folder)


def test_several_lengths_share_what_does_not_change(finished, probed, tmp_path):
  run = finished('pretrain')
  results = probe.run(job(run, init_steps=(6, 3)), tmp_path)
  assert results['checkpoint'] == 6 and results['checkpoints'] == [3, 6]
  rows = [row for row in results['probes'] if row['checkpoint'] != 3]
  assert rows == read(probed('pretrain'))['probes']
  values = {row['test_accuracy'] for row in results['probes']}
  assert set(results['metrics'].values()) - values <= {
    results['metrics']['chance']
  }
  (lengths,) = (tmp_path / 'figures').glob('lengths*')
  assert lengths.stat().st_size > 10_000
  assert not (probed('pretrain') / 'figures' / lengths.name).exists()
  figure = report.draw_lengths(results)
  for axis, kind in zip(figure.axes, ('linear', 'knn'), strict=True):
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert list(lines['patches'].get_xdata()) == [0, 3, 6]
    metrics = results['metrics']
    assert lines['patches'].get_ydata()[[0, -1]] == pytest.approx(
      [
        100 * metrics[f'random_patches_{kind}'],
        100 * metrics[f'pretrained_patches_{kind}'],
      ]
    )


def test_an_older_checkpoint_can_be_probed(finished):
  run = finished('pretrain')
  models = [model_lib.load(run, 64, step) for step in (3, 6, -1)]
  assert [model.step for model in models] == [3, 6, 6]
  kernels = [
    np.asarray(m.variables['params']['patch_network']['stem']['conv']['kernel'])
    for m in models
  ]
  assert (kernels[0] != kernels[1]).any()
  np.testing.assert_array_equal(kernels[1], kernels[2])


def test_bars_have_their_values():
  rows = [
    {
      'weights': w,
      'checkpoint': step,
      'features': f,
      'probe': p,
      'test_accuracy': value,
    }
    for w, step, f, value in (
      ('pretrained', 3, 'block3', 0.2),
      ('pretrained', 6, 'block3', 0.5),
      ('random', None, 'block3', 0.4),
      (None, None, 'pixels', 0.3),
    )
    for p in ('linear', 'knn')
  ]
  figure = report.draw(
    {
      'probes': rows,
      'metrics': {'chance': 0.1},
      'checkpoint': 6,
      'label_fraction': 0.08,
      'dataset': 'cifar10',
    }
  )
  for axis in figure.axes:
    heights = [bar.get_height() for bar in axis.patches]
    assert heights == pytest.approx([50, 40, 30])
    assert [t.get_text() for t in axis.get_xticklabels()] == [
      'block3',
      'pixels',
    ]
  assert '8 % of the labels of cifar10' in figure.get_suptitle()
  assert figures_lib.pixels(figure).std() > 10


def test_mistakes_are_one_line(finished, probed, tmp_path):
  run = finished('pretrain')

  def refused(says, config):
    with pytest.raises(errors.UserError, match=says) as caught:
      probe.run(config, tmp_path / 'probe')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'probe' / 'results.json').exists()

  refused('is not a run', job(tmp_path))
  refused('mode=probe.*give the one', job(probed('pretrain')))
  refused('no checkpoint of step 5, but of 3, 6', job(run, init_steps=(5,)))
  refused('no image to choose C on', job(run, label_fraction=0.005))
  refused(
    "features='block4' is not valid.*quadrants,.*block3_adapted,pixels",
    job(run, **{'probe.features': 'block4'}),
  )
  refused(
    "'train' .1,497 images", job(run, **{'dataset.train_split': 'everything'})
  )

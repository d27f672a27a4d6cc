"""The network of docs/pretrained, for whoever starts from it."""

import collections
import json

import jax
import numpy as np

from configs import cifar_finetune
import selfie_jax
from selfie_jax import job_flags
from selfie_jax.storage import checksums
from selfie_jax.storage import pretrained
from selfie_jax.storage import weights

RUN = job_flags.ROOT / 'docs' / 'pretrained' / 'cifar_small'
TABLE = job_flags.ROOT / 'docs/results/cifar_labels_small'


def test_weights_are_those_that_its_table_is_of():
  stored = weights.restore(RUN)
  assert stored.pop('step') == 15_000
  digest = checksums.digest(stored)
  assert digest == json.loads((RUN / 'results.json').read_text())['weights']
  accuracies = collections.defaultdict(list)
  for row in map(json.loads, (TABLE / 'runs.jsonl').read_text().splitlines()):
    if row['stage'] == 'cell' and row.get('pretraining') in (None, digest):
      accuracy = 100 * row['metrics']['test_accuracy']
      accuracies[row['fraction'], row['arm']].append(accuracy)
  card = (RUN / 'README.md').read_text()
  for fraction in (0.05, 0.08, 0.2):
    cells = [f'{100 * fraction:g} %']
    for arm in ('supervised', 'selfie'):
      values = accuracies[fraction, arm]
      assert len(values) == 5
      cells.append(f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}')
    assert f'| {" | ".join(cells)} |' in card


def test_it_embeds_images_and_starts_a_finetuning():
  images = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), np.uint8)
  model = selfie_jax.load(RUN)
  vectors = model.embed(images)
  assert vectors.shape == (2, 4 * 384) and np.isfinite(vectors).all()
  assert np.abs(vectors[0] - vectors[1]).max() > 0.01
  config = cifar_finetune.get_config('small')
  config.init_from = str(RUN)
  loaded = pretrained.read(config)['params']['patch_network']
  patch_network = model.variables['params']['patch_network']
  jax.tree.map(np.testing.assert_array_equal, loaded, patch_network)

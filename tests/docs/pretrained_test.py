"""The network of docs/pretrained, for whoever starts from it."""

import json

import numpy as np

from configs import cifar_finetune
import selfie_jax
from selfie_jax import job_flags
from selfie_jax.storage import checksums
from selfie_jax.storage import weights
from selfie_jax.training import start

RUN = job_flags.ROOT / 'docs' / 'pretrained' / 'cifar_small'
TABLE = job_flags.ROOT / 'docs/results/cifar_labels_small'


def test_weights_are_those_that_its_table_is_of():
  stored = weights.restore(RUN)
  assert stored.pop('step') == 15_000
  digest = checksums.digest(stored)
  assert digest == json.loads((RUN / 'results.json').read_text())['weights']
  rows = map(json.loads, (TABLE / 'runs.jsonl').read_text().splitlines())
  starts = {row['pretraining'] for row in rows if row['arm'] == 'selfie'}
  assert starts == {digest}


def test_finetuning_starts_from_it():
  config = cifar_finetune.get_config('small')
  config.init_from = str(RUN)
  loaded = start.read_pretrained(config)
  kernel = loaded['params']['patch_network']['stem']['conv']['kernel']
  assert kernel.shape == (2, 2, 3, config.model.width)


def test_it_embeds_images():
  images = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), np.uint8)
  vectors = selfie_jax.load(RUN).embed(images)
  assert vectors.shape == (2, 4 * 384) and np.isfinite(vectors).all()
  assert np.abs(vectors[0] - vectors[1]).max() > 0.01

"""Nearest neighbours during pretraining: seen, and of no consequence."""

import json
import types
from unittest import mock

import jax
import numpy as np
import pytest
import small_jobs
from tensorboard.backend.event_processing import event_accumulator
import tensorflow as tf

from selfie_jax import errors
from selfie_jax.data import batches as batches_lib
from selfie_jax.probes import nearest_neighbours
from selfie_jax.probes import online
from selfie_jax.tasks import pretrain
from selfie_jax.training import train


def watched_job():
  config = small_jobs.small_job('pretrain')
  config.knn.every = 2
  config.knn.images = 300
  return config


def test_training_is_bit_for_bit_what_it_is_without(finished, tmp_path):
  """The accuracy is in the log's history, the results and TensorBoard."""
  config = watched_job()
  train.train_and_evaluate(config, tmp_path, online.evaluators(config))
  plain, plain_history = small_jobs.final_checkpoint(finished('pretrain'))
  state, history = small_jobs.final_checkpoint(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, plain, state)
  knn = [row for row in history if row['part'] == online.PART]
  # The last step's rows come after its checkpoint.
  assert [row['step'] for row in knn] == [2, 4]
  assert [row for row in history if row not in knn] == plain_history

  metrics = json.loads((tmp_path / 'results.json').read_text())['metrics']
  assert 0.2 < metrics['knn_accuracy'] <= 1  # ten classes
  events = event_accumulator.EventAccumulator(str(tmp_path), {'tensors': 0})
  events.Reload()
  rows = events.Tensors('knn/knn_accuracy')
  assert [row.step for row in rows] == [2, 4, 6]
  last = float(tf.make_ndarray(rows[-1].tensor_proto))
  assert last == pytest.approx(metrics['knn_accuracy'])


def test_images_that_vote_are_not_asked_about(monkeypatch):
  """And no test image is read; the same ones come for every seed."""
  config = watched_job()
  source = batches_lib.open_source(config, 'train')
  state = pretrain.create_state(config, 10)
  look = mock.Mock(return_value=0.5)
  monkeypatch.setattr(nearest_neighbours, 'accuracy', look)
  for config.seed in (0, 1):
    values = online.create(config, source).evaluate(state)
    assert values == {'knn_accuracy': 0.5}
  (bank, queries, *settings), again = (call.args for call in look.mock_calls)
  assert settings == [20, 0.07]
  assert (len(bank[0]), len(queries[0])) == (240, 60)
  both = np.concatenate([bank[0], queries[0]])
  assert len(np.unique(both, axis=0)) == 300
  np.testing.assert_array_equal(bank[1], again[0][1])
  assert online.create(config, source).evaluate(state, lambda: True) is None


def test_a_pretraining_has_to_ask_and_to_have_labels(finetune_config):
  config = watched_job()
  assert online.evaluators(config) == [online.create]
  unlabelled = types.SimpleNamespace(labels=np.array([-1] * 40 + [0, 1]))
  with pytest.raises(errors.UserError, match='training split has 2; turn it'):
    online.create(config, unlabelled)
  config.knn.every = 0
  assert not online.evaluators(config)
  assert not online.evaluators(finetune_config)

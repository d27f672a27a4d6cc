"""The weights that are drawn are those that A's output is made with."""

from flax.linen import attention
import jax
import numpy as np
import pytest
import small_jobs

from selfie_jax.inference import model as model_lib
from selfie_jax.models import features


@pytest.mark.parametrize('mode, places', [('pretrain', 16), ('finetune', 4)])
def test_weights_make_the_summary(
  request, tmp_path, batch, monkeypatch, mode, places
):
  config = request.getfixturevalue(f'{mode}_config')
  config.model.attention.num_layers = 2
  if mode == 'finetune':
    config.model.name = 'resnet36_attention'
  images = batch['image'][:5]
  small_jobs.random_run(config, tmp_path, images)
  model = model_lib.load(tmp_path)
  used = []
  compute = attention.dot_product_attention_weights

  def record(*arguments, **keywords):
    used.append(compute(*arguments, **keywords))
    return used[-1]

  monkeypatch.setattr(attention, 'dot_product_attention_weights', record)

  @jax.jit
  def summarise(variables):
    layers = features.outputs(model.config, variables, images, ('attention',))
    return layers['attention'], used

  summary, (first, last) = summarise(model.variables)
  embedded = model.embed(images, 'attention')
  np.testing.assert_allclose(summary, embedded, rtol=1e-4, atol=1e-5)
  weights = model.attention_weights(images)
  assert weights.shape == (5, 2, 1 + places)
  assert weights.std(axis=-1).min() > 1e-4  # else any weights would do
  assert np.abs(first[:, :, 0] - last[:, :, 0]).max() > 1e-3
  np.testing.assert_allclose(weights, last[:, :, 0], rtol=1e-4)

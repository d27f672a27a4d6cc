"""The pictures show what they say."""

import numpy as np
import pytest

from selfie_jax import figures as figures_lib


def test_chosen_patches_are_put_into_the_masked_positions():
  image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(1, 32, 32, 3)
  image = (image % 251).astype(np.uint8)
  targets = np.array([[5, 0, 15, 2]])
  predictions = np.array([[0, 2, 1, 3]])  # two right, two swapped
  figure = figures_lib.patch_puzzle(image, targets, predictions, 8)
  masked, filled = [axis.images[0].get_array() for axis in figure.axes[:2]]
  assert (masked[0:8, 0:8] == figures_lib.MASKED).all()
  assert (masked[8:16, 8:16] == figures_lib.MASKED).all()
  np.testing.assert_array_equal(masked[16:24], image[0, 16:24])
  # Target 1 is place 0; target 2, place 15, was chosen for it.
  np.testing.assert_array_equal(filled[0:8, 0:8], image[0, 24:32, 24:32])
  np.testing.assert_array_equal(filled[24:32, 24:32], image[0, 0:8, 0:8])
  np.testing.assert_array_equal(filled[8:16, 8:16], image[0, 8:16, 8:16])
  frames = [p.get_edgecolor() for p in figure.axes[1].patches]
  assert frames[0] == frames[3] != frames[1] == frames[2]
  assert '2 of 4 right' in figure.get_suptitle()


def test_curves_have_chance_both_splits_and_neighbours():
  history = [
    {'step': s, 'part': part, 'loss': 1.4 - s / 10, 'chance': 0.25}
    | {'patch_accuracy': 0.25 + s / 10}
    for s in (1, 2)
    for part in ('train', 'test')
  ]
  knn = [{'step': s, 'part': 'knn', 'knn_accuracy': s / 10} for s in (1, 2)]
  loss, accuracy, neighbours = figures_lib.curves([*knn, *history]).axes
  names = [text.get_text() for text in accuracy.get_legend().get_texts()]
  assert names == ['train', 'test', 'chance']
  np.testing.assert_allclose(loss.lines[0].get_ydata(), [1.3, 1.2])
  assert accuracy.lines[-1].get_ydata()[0] == 0.25
  (line,) = neighbours.lines
  np.testing.assert_allclose(line.get_xydata(), [[1, 0.1], [2, 0.2]])


def test_attention_is_drawn_where_it_is(batch):
  weights = np.full((2, 10, 17), 1 / 17)
  weights[:, 1] = np.eye(17)[3]  # of place 2, in the first row
  weights[1, 4, 1:] = 0.5 / 17
  weights[1, 4] /= weights[1, 4].sum()
  figure = figures_lib.attention(batch['image'][:2], weights)
  axes = np.reshape(figure.axes[:-1], (2, 10))  # the last is the colour bar's
  titles = [axis.get_title() for axis in axes[0]]
  assert titles[:3] == ['image', 'mean of 10', 'head 1']
  assert 'head 2' in titles and 'head 5' in titles  # the least even ones
  shown = axes[1, 0].images[0].get_array()
  np.testing.assert_array_equal(shown, batch['image'][1])
  second = axes[1, titles.index('head 2')].images[1].get_array()
  assert second[0, 2] == pytest.approx(np.log2(17))
  mean = axes[1, 1].images[1]
  expected = 17 * weights[1].mean(axis=0)[1:].reshape(4, 4)
  np.testing.assert_allclose(2 ** mean.get_array(), expected)
  assert mean.norm.vmin == -mean.norm.vmax  # an even share has no colour
  assert figures_lib.ATTENTION(0.5)[3] < 0.01


def test_filters_are_scaled_each_by_itself():
  kernel = np.zeros((3, 3, 3, 9), np.float32)
  kernel[0, 1, 2, 0] = 0.01
  kernel[2, 2, 0, 8] = -5
  figure = figures_lib.filters(kernel)
  drawn = [axis.images[0].get_array() for axis in figure.axes if axis.images]
  assert len(drawn) == 9
  assert drawn[0][0, 1, 2] == pytest.approx(1)
  assert drawn[8][2, 2, 0] == pytest.approx(0)

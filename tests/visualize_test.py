"""The pictures show what they say."""

import numpy as np

from selfie_jax import visualize


def test_chosen_patches_are_put_into_the_holes():
  image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(1, 32, 32, 3)
  image = (image % 251).astype(np.uint8)
  targets = np.array([[5, 0, 15, 2]])
  answers = np.array([[0, 2, 1, 3]])  # two right, two swapped
  figure = visualize.patch_puzzle(image, targets, answers, 8)
  holes, solved = [axis.images[0].get_array() for axis in figure.axes[:2]]
  assert (holes[0:8, 0:8] == visualize.HOLE).all()
  assert (holes[8:16, 8:16] == visualize.HOLE).all()
  np.testing.assert_array_equal(holes[16:24], image[0, 16:24])
  # Hole 1 is place 0 and got target 2, which is place 15.
  np.testing.assert_array_equal(solved[0:8, 0:8], image[0, 24:32, 24:32])
  np.testing.assert_array_equal(solved[24:32, 24:32], image[0, 0:8, 0:8])
  np.testing.assert_array_equal(solved[8:16, 8:16], image[0, 8:16, 8:16])
  frames = [p.get_edgecolor() for p in figure.axes[1].patches]
  assert frames[0] == frames[3] != frames[1] == frames[2]
  assert '2 of 4 right' in figure.get_suptitle()


def test_curves_have_chance_and_both_parts():
  history = [
    {
      'step': s,
      'part': part,
      'loss': 1.4 - s / 10,
      'chance': 0.25,
      'patch_accuracy': 0.25 + s / 10,
    }
    for s in (1, 2)
    for part in ('train', 'test')
  ]
  figure = visualize.curves(history)
  loss, accuracy = figure.axes
  assert [t.get_text() for t in accuracy.get_legend().get_texts()] == [
    'train',
    'test',
    'chance',
  ]
  np.testing.assert_allclose(loss.lines[0].get_ydata(), [1.3, 1.2])
  assert accuracy.lines[-1].get_ydata()[0] == 0.25
  assert visualize.pixels(figure).shape[-1] == 3

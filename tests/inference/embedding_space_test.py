"""Neighbours and maps of embeddings, and their pictures."""

from matplotlib import colors
import numpy as np
import pytest

from selfie_jax import figures as figures_lib
from selfie_jax.inference import embedding_figures
from selfie_jax.inference import embedding_space


@pytest.fixture
def clusters():
  """Sixty vectors in three directions, of any length, in random order."""
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.repeat(['cat', 'dog', 'ship'], 20))
  centres = {name: rng.normal(size=64) for name in ('cat', 'dog', 'ship')}
  vectors = [centres[name] + 0.1 * rng.normal(size=64) for name in labels]
  lengths = rng.uniform(0.1, 10, (60, 1))
  return np.float32(lengths * vectors), labels


def test_neighbours_are_those_of_the_largest_cosine(clusters):
  vectors, _ = clusters
  vectors[1] = 3 * vectors[0]  # the same direction, far away
  numbers = embedding_space.nearest(vectors)
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosine = unit @ unit.T - 2 * np.eye(60)  # none is its own neighbour
  np.testing.assert_array_equal(
    np.sort(numbers), np.sort(np.argsort(-cosine)[:, : embedding_space.NEAREST])
  )
  assert numbers[0, 0] == 1 and numbers[1, 0] == 0
  assert embedding_space.nearest(vectors[:4]).shape == (4, 3)


def test_agreement_stands_beside_chance(clusters):
  vectors, labels = clusters
  numbers = embedding_space.nearest(vectors)
  assert embedding_space.agreement(numbers, labels) == (
    1,
    pytest.approx(19 / 59),
  )
  others = np.array([[1], [0], [0], [0]])
  some = np.array(['a', 'b', 'a', ''])  # right once in three times
  assert embedding_space.agreement(others, some) == (
    pytest.approx(1 / 3),
    pytest.approx(1 / 3),
  )
  one = np.array(['a', '', '', ''])
  assert embedding_space.agreement(others, one) is None


def test_map_keeps_neighbours_together_and_comes_again(clusters):
  vectors, labels = clusters
  points = embedding_space.flatten(vectors)
  assert points.shape == (60, 2)
  centres = {name: points[labels == name].mean(axis=0) for name in set(labels)}
  for point, label in zip(points, labels, strict=True):
    distance = {k: np.linalg.norm(point - v) for k, v in centres.items()}
    assert min(distance, key=distance.get) == label
  fewest = embedding_space.flatten(vectors[:3])
  assert np.isfinite(fewest).all()
  np.testing.assert_array_equal(fewest, embedding_space.flatten(vectors[:3]))


def test_frames_say_which_neighbours_are_of_the_class(batch):
  images = batch['image'][:5]
  nearest = np.array([[4, 2], [0, 2], [0, 1], [0, 1], [0, 1]])
  labels = ['cat', 'dog', 'a class of a long name', 'cat', 'cat']
  figure = embedding_figures.neighbours(
    images, np.array([0, 3]), nearest, labels
  )
  axes = np.reshape(figure.axes, (2, 3))
  drawn = [[axis.images[0].get_array() for axis in row] for row in axes]
  for row, numbers in zip(drawn, ([0, 4, 2], [3, 0, 1]), strict=True):
    np.testing.assert_array_equal(row, images[numbers])
  right, wrong = map(colors.to_rgba, (figures_lib.RIGHT, figures_lib.WRONG))
  frames = [
    [axis.spines['left'].get_edgecolor() for axis in row[1:]] for row in axes
  ]
  assert frames == [[right, wrong], [right, wrong]]
  assert not axes[0, 0].spines['left'].get_visible()
  assert axes[0, 2].get_xlabel() == 'a class of a …'
  # Of the ten neighbours, 4, 0 (of 3) and 0 (of 4) are of the same class.
  assert '30.0%' in figure.get_suptitle()
  assert 'chance 30.0%' in figure.get_suptitle()

  labels = ['', 'dog', '', '', '']
  figure = embedding_figures.neighbours(images, [0], nearest, labels)
  assert not any(axis.spines['left'].get_visible() for axis in figure.axes)
  assert 'class' not in figure.get_suptitle()


def _legend(figure):
  (legend,) = figure.legends
  names = [text.get_text() for text in legend.get_texts()]
  handles = [colors.to_rgba(h.get_color()) for h in legend.legend_handles]
  return dict(zip(names, handles, strict=True))


def test_map_has_the_colours_of_its_legend():
  points = np.arange(12.0).reshape(6, 2)
  labels = ['_b', 'a$x$', '', 'a$x$', '_b', '']
  images = np.zeros((6, 8, 8, 3), np.uint8)
  figure = embedding_figures.plane(images, points, labels, 'a map')
  (scatter,) = figure.axes[0].collections
  np.testing.assert_array_equal(scatter.get_offsets(), points)
  legend = _legend(figure)
  assert list(legend) == ['_b', 'a$x$', 'not known']
  assert len(set(legend.values())) == 3
  np.testing.assert_allclose(
    scatter.get_facecolors(), [legend[k or 'not known'] for k in labels]
  )
  figures_lib.pixels(figure)  # $ is no formula
  unlabelled = embedding_figures.plane(images, points, [''] * 6, 'a map')
  assert not unlabelled.legends


def test_map_shows_as_many_images_as_have_room(batch):
  images = batch['image'][:4]
  points = np.array([[0.0, 0.0], [0.1, 0.0], [4.0, 0.0], [0.0, 4.0]])
  figure = embedding_figures.plane(images, points, ['a', 'a', '', ''], 'a map')
  shown = figure.axes[0].images
  # The second lies below the first one's thumbnail.
  for drawn, i in zip(shown, (0, 2, 3), strict=True):
    np.testing.assert_array_equal(drawn.get_array(), images[i])
    left, right, bottom, top = drawn.get_extent()
    np.testing.assert_allclose(
      points[i], [(left + right) / 2, (bottom + top) / 2], atol=1e-9
    )
  (frame,) = figure.axes[0].patches
  assert frame.get_edgecolor() == colors.to_rgba(
    figure.legends[0].legend_handles[0].get_color()
  )


def test_of_many_classes_the_frequent_ones_have_colours():
  labels = [f'class {i}' for i in range(40)] + ['class 33', 'class 7'] * 5
  points = np.zeros((len(labels), 2))
  images = np.zeros((len(labels), 8, 8, 3), np.uint8)
  figure = embedding_figures.plane(images, points, labels, 'a map')
  legend = _legend(figure)
  assert len(legend) == embedding_figures.FREQUENT + 1
  assert {'class 33', 'class 7', '30 others'} <= legend.keys()
  assert len(set(legend.values())) == len(legend)

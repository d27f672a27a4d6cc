"""Neighbours and maps of vectors, and their pictures."""

from matplotlib import colors
import numpy as np
import pytest

from selfie_jax import figures as figures_lib
from selfie_jax.inference import figures as embedding_figures
from selfie_jax.inference import vectors as vectors_lib


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
  numbers = vectors_lib.nearest(vectors)
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosine = unit @ unit.T - 2 * np.eye(60)  # none is its own neighbour
  np.testing.assert_array_equal(
    np.sort(numbers), np.sort(np.argsort(-cosine)[:, : vectors_lib.NEAREST])
  )
  assert numbers[0, 0] == 1 and numbers[1, 0] == 0


@pytest.mark.parametrize(
  'labels, expected',
  [
    ('abbb', (1 / 4, 1 / 2)),
    ('aba ', (1 / 3, 1 / 3)),  # right once in three times
    ('a   ', None),
  ],
)
def test_agreement_stands_beside_chance(labels, expected):
  """Of neighbours of which both classes are known."""
  nearest = np.array([[1], [0], [0], [2]])
  found = vectors_lib.agreement(nearest, np.char.strip([*labels]))
  assert found == (expected and pytest.approx(expected))


def test_map_keeps_neighbours_together_and_comes_again(clusters):
  vectors, labels = clusters
  points = vectors_lib.flatten(vectors)
  assert points.shape == (60, 2)
  np.testing.assert_array_equal(points, vectors_lib.flatten(vectors))
  names = np.array(['cat', 'dog', 'ship'])
  centres = np.stack([points[labels == name].mean(axis=0) for name in names])
  distances = np.linalg.norm(points[:, None] - centres, axis=-1)
  np.testing.assert_array_equal(names[distances.argmin(axis=1)], labels)


def test_frames_say_which_neighbours_are_of_the_class(batch):
  images = batch['image'][:5]
  nearest = np.array([[4, 2], [0, 2], [0, 1], [0, 1], [0, 1]])
  labels = ['cat', 'dog', 'a class of a long name', 'cat', 'cat']
  figure = embedding_figures.neighbours(images, [0, 3], nearest, labels)
  axes = np.reshape(figure.axes, (2, 3))
  for row, numbers in zip(axes, ([0, 4, 2], [3, 0, 1]), strict=True):
    drawn = [axis.images[0].get_array() for axis in row]
    np.testing.assert_array_equal(drawn, images[numbers])
  right, wrong = map(colors.to_rgba, (figures_lib.RIGHT, figures_lib.WRONG))
  frames = [axis.spines['left'].get_edgecolor() for axis in axes[:, 1:].flat]
  assert frames == [right, wrong, right, wrong]
  # Of the ten neighbours, 4, 0 (of 3) and 0 (of 4) are of the same class.
  assert '30.0%' in figure.get_suptitle()
  assert 'chance 30.0%' in figure.get_suptitle()


def test_map_has_the_colours_of_its_legend_and_thumbnails(batch):
  points = np.array([[0.0, 0.0], [0.1, 0.0], [4.0, 0.0], [0.0, 4.0]])
  labels, images = ['_b', 'a$x$', '_b', ''], batch['image'][:4]
  figure = embedding_figures.plane(images, points, labels, 'a map')
  figures_lib.pixels(figure)  # $ is no formula
  scatter = figure.axes[0].collections[0]
  np.testing.assert_array_equal(scatter.get_offsets(), points)
  (legend,) = figure.legends
  handles = zip(legend.get_texts(), legend.legend_handles, strict=True)
  colour_of = {k.get_text(): tuple(v.get_facecolor()[0]) for k, v in handles}
  assert [*colour_of] == ['_b', 'a$x$']
  colour_of[''] = colors.to_rgba(embedding_figures.NEUTRAL)
  assert len(set(colour_of.values())) == 3
  expected = [colour_of[label] for label in labels]
  np.testing.assert_allclose(scatter.get_facecolors(), expected)
  # The second lies below the first one's thumbnail.
  for box, i in zip(figure.axes[0].artists, (0, 2, 3), strict=True):
    np.testing.assert_array_equal(box.offsetbox.get_data(), images[i])
    np.testing.assert_array_equal(box.xybox, points[i])
    assert box.patch.get_edgecolor() == tuple(expected[i])

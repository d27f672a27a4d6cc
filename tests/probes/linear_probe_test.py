"""The linear probe, on data whose classes are known."""

import numpy as np
from sklearn import linear_model

from selfie_jax.probes import linear_probe


def blobs(rng, count, dim=4, noise=0.1):
  """Points around a corner of their own for each of four classes."""
  labels = np.arange(count) % 4
  corners = np.eye(4, dim)
  points = corners[labels] + noise * rng.normal(size=(count, dim))
  return np.float32(points), labels


def test_separable_classes_are_told_apart_whatever_the_units():
  rng = np.random.default_rng(0)
  units = np.float32([1e-3, 1, 1e3, 1e6])
  train, validation, test = (
    (x * units + 5 * units, y) for x, y in (blobs(rng, 200) for _ in range(3))
  )
  values = linear_probe.evaluate(train, validation, test, (1.0,), 100)
  assert values['validation_accuracy'] == values['test_accuracy'] == 1
  assert values['has_converged'] and 0 < values['iterations'] < 100
  assert values['strength'] == 1 and not values['is_end_of_grid']
  shuffled = test[0], np.roll(test[1], 1)
  values = linear_probe.evaluate(train, validation, shuffled, (1.0,), 2)
  assert values['test_accuracy'] == 0
  assert not values['has_converged'] and values['iterations'] == 2


def skewed(rng):
  """One class is frequent: a strong penalty leaves nothing but it."""
  features, labels = blobs(rng, 400)
  kept = (labels == 0) | (rng.random(400) < 0.15)
  return features[kept], labels[kept]


def test_strength_is_the_smallest_of_the_best_on_the_validation_split():
  rng = np.random.default_rng(1)
  train, validation = skewed(rng), skewed(rng)
  strengths = (1.0, 1e-7, 1e-6, 10.0, 1e-5, 1e-1, 100.0)  # in any order
  # The test images tell the model of the chosen C from the last one fitted.
  test = np.float32(rng.normal(0, 0.3, (2000, 4))), rng.integers(0, 4, 2000)

  def evaluate(*strengths):
    return linear_probe.evaluate(train, validation, test, strengths, 300)

  values = evaluate(*strengths)
  each = {c: evaluate(c)['validation_accuracy'] for c in sorted(strengths)}
  assert each[1e-7] == each[1e-6] < each[1.0] == each[100.0] == 1
  assert values['strength'] == max(each, key=each.get)  # the first of equals
  assert values['validation_accuracy'] == 1 and not values['is_end_of_grid']
  chosen, last = (evaluate(c) for c in (values['strength'], 100.0))
  assert chosen['test_accuracy'] != last['test_accuracy']
  assert abs(values['test_accuracy'] - chosen['test_accuracy']) < 0.01


def test_search_ends_when_it_has_got_worse_twice(monkeypatch):
  """Only a penalty that leaves nothing calls the others what is frequent."""
  train = skewed(np.random.default_rng(2))
  others = train[1] != 0
  validation = train[0][others], 0 * train[1][others]
  tried = []
  fit = linear_model.LogisticRegression.fit

  def counted(self, *args):
    tried.append(self.C)
    return fit(self, *args)

  monkeypatch.setattr(linear_model.LogisticRegression, 'fit', counted)
  strengths = (1e-7, 1e-6, 1.0, 10.0, 100.0, 1000.0)
  values = linear_probe.evaluate(train, validation, train, strengths, 100)
  assert values['strength'] == 1e-7 and values['is_end_of_grid']
  assert tried == [1e-7, 1e-6, 1.0, 10.0]

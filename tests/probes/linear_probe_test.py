"""The linear probe, on data whose answers are known."""

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
  probe = linear_probe.fit(train, validation, (1.0,), 100)
  assert probe.validation_accuracy == 1
  assert probe.accuracy(*test) == 1
  assert probe.has_converged and 0 < probe.iterations < 100
  shuffled = test[0], np.roll(test[1], 1)
  assert probe.accuracy(*shuffled) == 0


def test_strength_is_the_smallest_of_the_best_on_the_validation_part():
  """Where one class is frequent, a strong penalty leaves nothing but it."""
  rng = np.random.default_rng(1)

  def part():
    features, labels = blobs(rng, 400)
    kept = (labels == 0) | (rng.random(400) < 0.15)
    return features[kept], labels[kept]

  train, validation = part(), part()
  strengths = (1.0, 1e-7, 1e-6, 10.0, 1e-5, 1e-1, 100.0)  # in any order
  probe = linear_probe.fit(train, validation, strengths, 300)
  each = {
    c: linear_probe.fit(train, validation, (c,), 300).validation_accuracy
    for c in sorted(strengths)
  }
  assert each[1e-7] == each[1e-6] < each[1.0] == each[100.0] == 1
  assert probe.strength == max(each, key=each.get)  # the first of equals
  # The model is the one of that C, not the last one fitted.
  last = linear_probe.fit(train, validation, (100.0,), 300)
  norms = [np.linalg.norm(p.model.coef_) for p in (probe, last)]
  assert norms[0] < norms[1]


def test_search_ends_when_it_has_got_worse_twice(monkeypatch):
  """Only a penalty that leaves nothing calls the others what is frequent."""
  rng = np.random.default_rng(2)
  features, labels = blobs(rng, 400)
  kept = (labels == 0) | (rng.random(400) < 0.15)
  train = features[kept], labels[kept]
  validation = features[labels != 0], 0 * labels[labels != 0]
  tried = []
  fit = linear_model.LogisticRegression.fit

  def counted(self, *args):
    tried.append(self.C)
    return fit(self, *args)

  monkeypatch.setattr(linear_model.LogisticRegression, 'fit', counted)
  strengths = (1e-7, 1e-6, 1.0, 10.0, 100.0, 1000.0)
  probe = linear_probe.fit(train, validation, strengths, 100)
  assert probe.strength == 1e-7 and probe.validation_accuracy == 1
  assert tried == [1e-7, 1e-6, 1.0, 10.0]


def test_too_few_steps_are_known():
  rng = np.random.default_rng(2)
  probe = linear_probe.fit(blobs(rng, 80), blobs(rng, 80), (1.0,), 2)
  assert not probe.has_converged and probe.iterations == 2


def test_a_constant_feature_does_no_harm():
  rng = np.random.default_rng(3)
  features, labels = blobs(rng, 80)
  features[:, 3] = 7
  labels %= 3
  probe = linear_probe.fit((features, labels), (features, labels), (1.0,), 50)
  assert np.isfinite(probe.model.coef_).all()

"""The linear probe, on data whose answers are known."""

import numpy as np
import pytest

from selfie_jax import linear_probe


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


def test_strength_is_the_best_on_the_validation_part():
  """Few images of many useless features: a large C fits their noise."""
  rng = np.random.default_rng(1)
  train, validation = (blobs(rng, count, 200, noise=0.5) for count in (80, 400))
  strengths = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
  probe = linear_probe.fit(train, validation, strengths, 300)
  each = {
    c: linear_probe.fit(train, validation, (c,), 300).validation_accuracy
    for c in strengths
  }
  assert len(set(each.values())) > 2
  assert probe.strength == max(each, key=each.get)  # the first of equals
  assert probe.validation_accuracy == pytest.approx(
    each[probe.strength], abs=0.005
  )
  # The model is the one of that C, not the last one fitted.
  assert probe.accuracy(*validation) == probe.validation_accuracy


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

"""Weights are known again by their digest."""

import numpy as np

from selfie_jax.storage import fingerprint


def tree():
  return {'a': {'kernel': np.arange(6.0).reshape(2, 3)}, 'b': np.ones(2)}


def test_the_same_weights_have_the_same_digest():
  assert fingerprint.weights(tree()) == fingerprint.weights(tree())
  assert len(fingerprint.weights(tree())) == 16


def test_every_bit_name_and_shape_counts():
  digests = {fingerprint.weights(tree())}
  changed = tree()
  changed['a']['kernel'][1, 2] = np.nextafter(5.0, 6.0)
  digests.add(fingerprint.weights(changed))
  digests.add(fingerprint.weights({'c': tree()['a'], 'b': tree()['b']}))
  turned = tree()
  turned['a']['kernel'] = turned['a']['kernel'].reshape(3, 2)
  digests.add(fingerprint.weights(turned))
  narrow = tree()
  narrow['b'] = narrow['b'].astype(np.float32)
  digests.add(fingerprint.weights(narrow))
  assert len(digests) == 5

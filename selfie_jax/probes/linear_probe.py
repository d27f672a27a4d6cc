"""A linear probe: logistic regression on frozen features."""

from collections.abc import Sequence
import copy
from typing import Any
import warnings

import numpy as np
from sklearn import exceptions
from sklearn import linear_model
from sklearn import preprocessing

PATIENCE = 2  # values of C in a row that are worse end the search

Examples = tuple[np.ndarray, np.ndarray]  # features [n, dim], labels [n]


def evaluate(
  train: Examples,
  validation: Examples,
  test: Examples,
  strengths: Sequence[float],
  max_iter: int,
) -> dict[str, Any]:
  """Fits to `train`, with the C that is best on `validation`.

  Features are scaled to mean 0 and deviation 1 over `train`, which has at least
  two classes.

  Args:
    strengths: values of C, the inverse of the L2 penalty's weight; tried from
      the smallest until PATIENCE in a row are worse: large ones take long.
    max_iter: most steps of L-BFGS for each C.

  Returns:
    'test_accuracy' and 'validation_accuracy', in 0..1; 'strength', the chosen
    C (of equally good ones the smallest), and 'is_end_of_grid'; 'iterations' of
    L-BFGS at this C, and 'has_converged'.
  """
  scaler = preprocessing.StandardScaler().fit(train[0])
  train, validation, test = (
    (scaler.transform(features), labels)
    for features, labels in (train, validation, test)
  )
  # Each fit starts from the previous one, which had a stronger penalty.
  model = linear_model.LogisticRegression(max_iter=max_iter, warm_start=True)
  best, best_accuracy, worse = None, -1.0, 0
  for strength in sorted(strengths):
    model.set_params(C=strength)
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', exceptions.ConvergenceWarning)
      model.fit(*train)
    accuracy = float(model.score(*validation))
    if accuracy > best_accuracy:
      best, best_accuracy = copy.deepcopy(model), accuracy
    worse = worse + 1 if accuracy < best_accuracy else 0
    if worse == PATIENCE:
      break
  ends = min(strengths), max(strengths)
  iterations = int(best.n_iter_.max())
  return {
    'test_accuracy': float(best.score(*test)),
    'validation_accuracy': best_accuracy,
    'strength': best.C,
    'is_end_of_grid': len(strengths) > 1 and best.C in ends,
    'iterations': iterations,
    'has_converged': iterations < max_iter,
  }

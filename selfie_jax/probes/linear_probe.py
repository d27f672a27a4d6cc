"""A linear probe: logistic regression on features that do not change."""

from collections.abc import Sequence
import copy
import dataclasses
import warnings

import numpy as np
from sklearn import exceptions
from sklearn import linear_model
from sklearn import preprocessing

PATIENCE = 2  # so many values of C in a row that are worse end the search


@dataclasses.dataclass(frozen=True)
class LinearProbe:
  """A classifier that was fitted by `fit`.

  Attributes:
    scaler: gives each feature mean 0 and deviation 1 over the training part.
    model: scikit-learn's logistic regression.
    validation_accuracy: of the model, in 0..1.
    iterations: of L-BFGS, at the model's strength.
    has_converged: whether these were enough.
  """

  scaler: preprocessing.StandardScaler
  model: linear_model.LogisticRegression
  validation_accuracy: float
  iterations: int
  has_converged: bool

  @property
  def strength(self) -> float:
    """The C that was chosen."""
    return self.model.C

  def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows [n, dim] that are given their label [n]."""
    return float(self.model.score(self.scaler.transform(features), labels))


def fit(
  train: tuple[np.ndarray, np.ndarray],
  validation: tuple[np.ndarray, np.ndarray],
  strengths: Sequence[float],
  max_iter: int,
) -> LinearProbe:
  """Fits to the training part, with the C that is best on the validation part.

  Args:
    train: features float [n, dim] and labels [n] of at least two classes.
    validation: likewise.
    strengths: values of C, the inverse of the weight of the L2 penalty; tried
      from the smallest on, as long as it helps: large ones take long.
    max_iter: most steps of L-BFGS for each of them.

  Returns:
    The classifier; of equally good ones that of the smallest C.
  """
  features, labels = train
  scaler = preprocessing.StandardScaler().fit(features)
  features = scaler.transform(features)
  held_out = scaler.transform(validation[0])
  # Each fit starts from the one before, which was regularised more.
  model = linear_model.LogisticRegression(max_iter=max_iter, warm_start=True)
  best, worse = None, 0
  for strength in sorted(strengths):
    model.set_params(C=strength)
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', exceptions.ConvergenceWarning)
      model.fit(features, labels)
    accuracy = float(model.score(held_out, validation[1]))
    if best is None or accuracy > best.validation_accuracy:
      iterations = int(model.n_iter_.max())
      best = LinearProbe(
        scaler,
        copy.deepcopy(model),
        accuracy,
        iterations,
        iterations < max_iter,
      )
    worse = worse + 1 if accuracy < best.validation_accuracy else 0
    if worse == PATIENCE:
      break
  return best

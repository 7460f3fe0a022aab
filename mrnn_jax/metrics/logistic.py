"""Chances from evidence: logistic regression, and how well it tells apart."""

import dataclasses

import numpy as np

from mrnn_jax.runtime.errors import InputError

_MAX_STEPS = 100
# Beyond this the logistic function is 0 or 1 in double precision.
_FLAT = 700.0


@dataclasses.dataclass(frozen=True)
class Logistic:
  """P(true | x) = 1 / (1 + exp(-(w . (x - mean) / scale + bias))).

  Attributes:
    mean: [F] of the evidence that it was fitted to.
    scale: [F] its standard deviation; 1 where that is 0.
    weights: [F].
    bias: a number.
  """

  mean: np.ndarray
  scale: np.ndarray
  weights: np.ndarray
  bias: float

  def chance(self, evidence: np.ndarray) -> np.ndarray:
    """Return P(true) [...] for evidence [..., F]."""
    z = ((np.asarray(evidence) - self.mean) / self.scale) @ self.weights
    return _logistic(z + self.bias)


def fit_logistic(
  evidence: np.ndarray, is_true: np.ndarray, ridge: float = 1.0
) -> Logistic:
  """Fit chances to what was seen, by Newton's method.

  Minimises -sum log P(what was seen) + ridge / 2 |w|^2, the evidence brought to
  mean 0 and deviation 1; the bias is free, so that the mean of the chances is
  the share of what was true.

  Args:
    evidence: [N, F] finite numbers.
    is_true: [N] bool, of both kinds.
    ridge: what large weights cost.

  Raises:
    InputError: the shapes do not fit, a number is not finite, or all are of
      one kind.
  """
  evidence = np.asarray(evidence, np.float64)
  true = np.asarray(is_true, np.float64)
  if evidence.ndim != 2 or true.shape != evidence.shape[:1]:
    raise InputError(
      f'evidence {evidence.shape} does not fit {true.shape} outcomes.'
    )
  if not np.isfinite(evidence).all():
    raise InputError('some evidence is not a finite number.')
  if not 0 < true.sum() < len(true):
    raise InputError('nothing can be told apart: all outcomes are the same.')
  mean, scale = evidence.mean(0), evidence.std(0)
  scale[scale == 0] = 1
  x = np.c_[(evidence - mean) / scale, np.ones(len(true))]
  penalty = np.full(x.shape[1], ridge)
  penalty[-1] = 0
  w = np.zeros(x.shape[1])
  for _ in range(_MAX_STEPS):
    chance = _logistic(x @ w)
    gradient = x.T @ (chance - true) + penalty * w
    curvature = (x * (chance * (1 - chance))[:, None]).T @ x
    step = np.linalg.solve(curvature + np.diag(penalty), gradient)
    w -= step
    if np.abs(step).max() < 1e-10:
      break
  return Logistic(mean, scale, w[:-1], float(w[-1]))


def area_under_curve(scores: np.ndarray, is_true: np.ndarray) -> float:
  """Return the chance that a true one scores above one that is not (ROC AUC).

  Ties count half.

  Args:
    scores: [N] finite.
    is_true: [N] bool.

  Raises:
    InputError: all are of one kind.
  """
  scores, true = np.asarray(scores), np.asarray(is_true, bool)
  if not 0 < true.sum() < len(true):
    raise InputError('nothing can be told apart: all outcomes are the same.')
  others = np.sort(scores[~true])
  below = np.searchsorted(others, scores[true], side='left')
  not_above = np.searchsorted(others, scores[true], side='right')
  return float((below + not_above).mean() / (2 * len(others)))


def brier_score(chances: np.ndarray, is_true: np.ndarray) -> float:
  """Return the mean squared difference of chances [N] and outcomes [N]."""
  difference = np.asarray(chances) - np.asarray(is_true, np.float64)
  return float(np.square(difference).mean())


def _logistic(z: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-np.clip(z, -_FLAT, _FLAT)))

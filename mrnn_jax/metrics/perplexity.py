"""Perplexity of a split from the sums of its captions."""

import numpy as np

from mrnn_jax.runtime.errors import InputError


def perplexity(
  log2_probs: np.ndarray,
  num_targets: np.ndarray,
  end_log2_probs: np.ndarray,
  num_unknown: np.ndarray,
) -> dict[str, float]:
  """Compute the perplexities of a split (section 4 of the paper).

  With L_i targets and log2 PPL_i = -(1/L_i) sum_n log2 P(w_n | w_<n, I) the
  corpus perplexity is 2^(sum_i L_i log2 PPL_i / sum_i L_i).

  Args:
    log2_probs: [N] sum of log2 P over the targets of each caption,
      ``##END##`` included.
    num_targets: [N] number of targets L_i of each caption, ``##END##``
      included.
    end_log2_probs: [N] log2 P of the ``##END##`` target alone.
    num_unknown: [N] number of ``##UNK##`` targets.

  Returns:
    'corpus': the corpus perplexity; 'geometric_mean': 2^(mean of log2 PPL_i);
    'without_end': the corpus perplexity of the words alone, ``##END##`` not
    being a target; 'oov_rate': the share of ``##UNK##`` among the words.

  Raises:
    InputError: there are no captions or no words, the counts cannot be, or a
      log-probability or a perplexity is not finite.
  """
  arrays = [log2_probs, num_targets, end_log2_probs, num_unknown]
  sums, targets, ends, unknown = (np.asarray(a, np.float64) for a in arrays)
  if sums.ndim != 1 or any(
    a.shape != sums.shape for a in (targets, ends, unknown)
  ):
    raise InputError(
      'Perplexity needs four arrays of one number per caption, not of shapes '
      f'{[np.shape(a) for a in arrays]}.'
    )
  if not sums.size:
    raise InputError('There is no caption to compute a perplexity of.')
  finite = np.isfinite(sums) & np.isfinite(ends)
  if not finite.all():
    raise InputError(
      f'The log-probability of caption {np.argmin(finite)} is not finite.'
    )
  words = targets - 1
  # Negated, so that a count that is not a number is refused as well.
  impossible = ~((words >= unknown) & (unknown >= 0))
  if impossible.any():
    i = np.argmax(impossible)
    raise InputError(
      f'Caption {i} cannot have {targets[i]:g} targets, one of them ##END##, '
      f'and {unknown[i]:g} of them ##UNK##.'
    )
  if not words.sum():
    raise InputError('There is no word to compute a perplexity of.')

  with np.errstate(over='ignore'):
    result = {
      'corpus': np.exp2(-sums.sum() / targets.sum()),
      'geometric_mean': np.exp2(-(sums / targets).mean()),
      'without_end': np.exp2(-(sums - ends).sum() / words.sum()),
      'oov_rate': unknown.sum() / words.sum(),
    }
  if not np.isfinite(list(result.values())).all():
    raise InputError('The perplexity is too large for a floating-point number.')
  return {name: float(value) for name, value in result.items()}

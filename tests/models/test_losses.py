import numpy as np

from mrnn_jax.models import losses


def test_chosen_words_by_hand():
  # Odds 1 : 2 : 5 and 3 : 3 : 4, at whatever scale.
  logits = np.log([[1.0, 2.0, 5.0], [30.0, 30.0, 40.0]]).astype(np.float32)
  found = losses.chosen_log_probs(
    logits, np.array([1, 0, 0, 1]), np.array([2, 2, 0, 0])
  )
  np.testing.assert_allclose(np.exp(found), [0.4, 0.625, 0.125, 0.3], rtol=1e-5)

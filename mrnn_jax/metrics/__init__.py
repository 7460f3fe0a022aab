"""Pure measures on arrays and strings; no model and no files.

Captions are tokenised strings, words separated by spaces, except where
``measure_captions`` and ``caption_statistics`` tokenise them.
"""

from mrnn_jax.metrics.bleu import bleu
from mrnn_jax.metrics.captions import caption_statistics, check_captions
from mrnn_jax.metrics.chance import chance
from mrnn_jax.metrics.cider import cider_d
from mrnn_jax.metrics.logistic import (
  Logistic,
  area_under_curve,
  brier_score,
  fit_logistic,
)
from mrnn_jax.metrics.measure import measure_captions
from mrnn_jax.metrics.perplexity import perplexity
from mrnn_jax.metrics.ranks import (
  image_to_text_ranks,
  summarize_ranks,
  text_to_image_ranks,
)
from mrnn_jax.metrics.recall_curves import (
  RECALL_PERCENT,
  image_to_text_recall_curve,
  recall_curve,
  text_to_image_recall_curve,
)
from mrnn_jax.metrics.rouge import rouge_l
from mrnn_jax.metrics.shortlists import nearest_images

__all__ = [
  'RECALL_PERCENT',
  'Logistic',
  'area_under_curve',
  'bleu',
  'brier_score',
  'caption_statistics',
  'chance',
  'check_captions',
  'cider_d',
  'fit_logistic',
  'image_to_text_ranks',
  'image_to_text_recall_curve',
  'measure_captions',
  'nearest_images',
  'perplexity',
  'recall_curve',
  'rouge_l',
  'summarize_ranks',
  'text_to_image_ranks',
  'text_to_image_recall_curve',
]

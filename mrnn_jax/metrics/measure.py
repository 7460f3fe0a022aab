"""All measures of generated captions at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrnn_jax.data import vocabulary
from mrnn_jax.metrics.bleu import bleu
from mrnn_jax.metrics.captions import caption_statistics
from mrnn_jax.metrics.cider import cider_d
from mrnn_jax.metrics.rouge import rouge_l
from mrnn_jax.runtime.errors import InputError


def measure_captions(
  hypotheses: Mapping[str, str],
  references: Mapping[str, Sequence[str]],
  training_captions: Iterable[str] | None = None,
) -> dict[str, Any]:
  """Measure one caption for each image against what people wrote.

  Both sides are tokenised by ``vocabulary.tokenize``, whatever they look like.

  Args:
    hypotheses: image id -> caption.
    references: image id -> its references, any number each; the same images.
    training_captions: the captions the model was trained on, if known.

  Returns:
    'bleu' (see ``bleu``), 'cider_d' and 'rouge_l' (means over images) and
    'captions' (see ``caption_statistics``); plain numbers, ready for JSON.

  Raises:
    InputError: there is no image, one has a hypothesis but no references or
      the other way round, or a reference is left without a word.
  """
  _refuse(hypotheses.keys() - references.keys(), 'a hypothesis, no reference')
  _refuse(references.keys() - hypotheses.keys(), 'references, no hypothesis')
  texts, others = [], []
  for image_id, hypothesis in hypotheses.items():
    texts.append(_normalize(hypothesis))
    others.append([_normalize(text) for text in references[image_id]])
    if not others[-1]:
      raise InputError(f'Image {image_id!r} has an empty list of references.')
    if not all(others[-1]):
      raise InputError(f'Image {image_id!r} has a reference without a word.')
  return {
    'bleu': bleu(texts, others),
    'cider_d': float(cider_d(texts, others).mean()),
    'rouge_l': float(rouge_l(texts, others).mean()),
    'captions': caption_statistics(texts, training_captions),
  }


def _normalize(text: str) -> str:
  return ' '.join(vocabulary.tokenize(text))


def _refuse(image_ids: set[str], what: str) -> None:
  """Refuse images that stand on one side only."""
  if image_ids:
    more = f' (and {len(image_ids) - 1} more)' if len(image_ids) > 1 else ''
    raise InputError(f'Image {min(image_ids, key=str)!r}{more} has {what}.')

"""What both directions of retrieval are measured by, counted as scores come.

Memory grows with S and N, not with S times N: ranks are counted, and the best
of each query kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.data import datasets
from mrnn_jax.evaluation.scores import NORM_STEPS, LogProbabilities, Scores
from mrnn_jax.metrics.ranks import ImageRanks, WrongSentences
from mrnn_jax.metrics.score_matrix import check, check_finite
from mrnn_jax.metrics.shortlists import Listed
from mrnn_jax.ranking.best_items import BestItems, Block

TOP = 10


class Tally:
  """Counts of one pool; what is told of it once all blocks have come."""

  def __init__(self, scores: Scores, shortlist: np.ndarray | None = None):
    """Begin with nothing.

    Args:
      scores: how the pool is ranked.
      shortlist: [N, k] images whose sentences compete for each image; None:
        all.
    """
    self._scores, owner = scores, scores.owner
    S, N = len(owner), int(owner.max()) + 1
    check(np.broadcast_to(np.float32(0), (S, N)), owner)
    every = np.arange(S)
    self._listed = Listed(shortlist, owner)
    self._images = ImageRanks(scores.true)
    self._main = scores.num_norm_images
    self._sentences = {
      # The curve asks for all of an image's own sentences.
      k: WrongSentences(
        way(every, scores.true[:, None])[:, 0], owner, k != self._main
      )
      for k, way in scores.ways.items()
    }
    self._best_images = BestItems(S, min(TOP, N))
    self._best_sentences = BestItems(N, min(TOP, S))

  def add(self, block: Block) -> None:
    """Take in a block: sentence numbers, images, scores.

    Raises:
      InputError: a score is not finite.
    """
    sentences, images, scores = block
    check_finite(scores, sentences, images)
    self._images.add(sentences, scores)
    numbers = np.arange(images.start, images.stop)
    self._best_images.add(sentences, numbers, scores)
    listed = self._listed(sentences, images)
    for k, way in self._scores.ways.items():
      of_sentences = way(sentences, scores)
      self._sentences[k].add(images, of_sentences, listed)
      if k == self._main:
        if listed is not None:
          of_sentences = np.where(listed, of_sentences, -np.inf)
        self._best_sentences.add(numbers, sentences, of_sentences.T)

  def add_all(self, blocks: Iterable[Block]) -> 'Tally':
    """Take in blocks; return itself."""
    for block in blocks:
      self.add(block)
    return self

  def arrays(self) -> dict[str, np.ndarray]:
    """Return what is counted so far, to be kept and written into again."""
    return {
      'ranks': self._images.ranks,
      'best_images': self._best_images.items,
      'best_image_scores': self._best_images.scores,
      'best_sentences': self._best_sentences.items,
      'best_sentence_scores': self._best_sentences.scores,
      **{f'wrong_{k}': x.counted for k, x in self._sentences.items()},
    }

  def measures(self) -> dict[str, Any]:
    """Measure both directions, as evaluation.json has them.

    Returns:
      'image_to_text' and 'text_to_image' as ``metrics.summarize_ranks``, and
      'recall_curve' of both.  Of log-probabilities also
      'image_to_text_perplexity', and 'norm_images', the first of them for
      smaller K.
    """
    summaries = {
      k: metrics_lib.summarize_ranks(x.best_ranks())
      for k, x in self._sentences.items()
    }
    images = self._images.ranks
    result: dict[str, Any] = {'image_to_text': summaries[self._main]}
    by_words = isinstance(self._scores, LogProbabilities)
    if by_words:
      result['image_to_text_perplexity'] = summaries[0]
    result['text_to_image'] = metrics_lib.summarize_ranks(images)
    if by_words:
      result['norm_images'] = {
        str(k): x for k, x in summaries.items() if k in NORM_STEPS
      }
    wrong, ones = self._sentences[self._main], np.ones_like(images)
    lengths = self._listed.lengths()
    result['recall_curve'] = {
      'image_to_text': metrics_lib.recall_curve(
        wrong.positions(), wrong.num_own, lengths
      ),
      'text_to_image': metrics_lib.recall_curve(
        images[:, None], ones, ones * len(lengths)
      ),
    }
    return result

  def lines(self, split: datasets.CaptionSplit) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each query: what it is, its rank, and its top 10.

    Scores are natural logarithms: of P(w|I)/P(w) for sentences (or of 1/PPL
    without an estimate of P(w)), of P(w|I) for images; or cosines.
    """
    captions = [text for texts in split.captions for text in texts]
    ids, owner = split.image_ids, self._scores.owner
    ranks = self._sentences[self._main].best_ranks()
    for image, (s, score) in enumerate(_found(self._best_sentences)):
      yield {
        'query': 'image',
        'image_id': ids[image],
        'rank': int(ranks[image]),
        'top': [
          {
            'caption': captions[i],
            'image_id': ids[owner[i]],
            'score': x,
            'correct': bool(owner[i] == image),
          }
          for i, x in zip(s, score, strict=True)
        ],
      }
    for sentence, (images, score) in enumerate(_found(self._best_images)):
      yield {
        'query': 'sentence',
        'caption': captions[sentence],
        'image_id': ids[owner[sentence]],
        'rank': int(self._images.ranks[sentence]),
        'top': [
          {
            'image_id': ids[image],
            'score': x,
            'correct': bool(owner[sentence] == image),
          }
          for image, x in zip(images, score, strict=True)
        ],
      }


def _found(best: BestItems) -> Iterator[tuple[Sequence[int], Sequence[float]]]:
  """Yield items and scores of each query, without places that none took."""
  for items, scores in zip(best.items, best.scores, strict=True):
    there = np.isfinite(scores)
    yield items[there].tolist(), scores[there].astype(float).tolist()

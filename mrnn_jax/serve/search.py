"""Photos for sentences by log P(sentences | photo), exactly, and not all of it.

A sum over the whole vocabulary for each word and photo is nearly all of the
work, and only a few photos are asked for.  So every photo first gets a bound,
from a sum over the words likeliest there; then exact values are computed from
the best bound down, until no bound that is left reaches what was found.  The
result is that of computing everything.

Letters: Q edges (a prefix and the word after it), n photos, K training images.
"""

from collections.abc import Sequence
import dataclasses
import threading

import numpy as np

from mrnn_jax.ranking.ranker import log_mean_exp
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.serve.pool import Pool, View
from mrnn_jax.serve.readouts import Readouts

# So few photos are computed exactly, without bounds.
_FEW = 512
# Photos computed exactly at a time: the first ones, and then.
_FIRST, _BLOCK = 128, 512
# Bounds and values are rounded differently.
_MARGIN = 1e-3
# Prefixes and edges of which the training images' share is kept.
_KEPT = 20_000

Edge = tuple[tuple[int, ...], int]


@dataclasses.dataclass(frozen=True)
class Found:
  """The best photos of a query, best first.

  Attributes:
    places: [k] in the view that was searched.
    scores: [k] log P of the sentences given the photo, added up.
    log_chance: log P(w) of the sentences, added up: the mean over training
      images; None where the model carries none.
    view: what was searched.
    num_exact: photos whose score was computed exactly.
  """

  places: np.ndarray
  scores: np.ndarray
  log_chance: float | None
  view: View
  num_exact: int


class Searcher:
  """Searches photos, and ranks sentences for some; one caller at a time."""

  def __init__(self, readouts: Readouts):
    """Begin with nothing computed."""
    self._readouts = readouts
    self._contexts: dict[tuple[int, ...], np.ndarray] = {}
    self._subsets: dict[tuple[int, ...], np.ndarray] = {}
    self._norms: dict[Edge, np.ndarray] = {}
    self._lock = threading.Lock()

  def search(
    self, pool: Pool, queries: Sequence[tuple[Sequence[Sequence[int]], int]]
  ) -> list[Found]:
    """Search for several queries at once.

    Args:
      pool: the photos.
      queries: sentences of word ids, ``##START##`` to ``##END##``, and how many
        photos are wanted, of each.
    """
    sentences = [s for query, _ in queries for s in query]
    with self._lock:
      self._prepare(sentences)
      view = pool.view()
      edges = list(dict.fromkeys(_edges(sentences)))
      bounds = None
      if view.alive.sum() > _FEW:
        bounds = self._bounds(pool, view, edges)
      return [
        self._best(view, query, limit, bounds) for query, limit in queries
      ]

  def log_probs(
    self, sentences: Sequence[Sequence[int]], vectors: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray | None]:
    """Return log P(sentence | image), and log P(sentence) without an image.

    Args:
      sentences: S sentences of word ids.
      vectors: [n, J] what images give.

    Returns:
      [S, n], and [S], the mean over training images, or None without these.
    """
    with self._lock:
      self._prepare(sentences)
      values = self._exact(list(dict.fromkeys(_edges(sentences))), vectors)
      scores = np.stack(
        [sum(values[edge] for edge in _edges([s])) for s in sentences]
      )
      return scores, self._log_chances(sentences)

  def _prepare(self, sentences: Sequence[Sequence[int]]) -> None:
    """Run the language path, and what the training images give."""
    for kept in (self._contexts, self._subsets, self._norms):
      if len(kept) > _KEPT:
        kept.clear()
    new = [s for s in sentences if tuple(s[:-1]) not in self._contexts]
    for sentence, contexts in zip(
      new, self._readouts.contexts(new), strict=True
    ):
      for t, context in enumerate(contexts, 1):
        self._contexts[tuple(sentence[:t])] = context
    K = len(self._readouts.norm_vectors)
    edges = [
      e for e in dict.fromkeys(_edges(sentences)) if e not in self._norms
    ]
    if K and edges:
      self._norms.update(self._exact(edges, self._readouts.norm_vectors))

  def _exact(
    self, edges: Sequence[Edge], vectors: np.ndarray
  ) -> dict[Edge, np.ndarray]:
    """Return log P(word | prefix, image) [n] of edges."""
    contexts, words = self._arrays(edges)
    values = self._readouts.exact(contexts, words, vectors)
    return dict(zip(edges, values, strict=True))

  def _arrays(self, edges: Sequence[Edge]) -> tuple[np.ndarray, np.ndarray]:
    contexts = np.stack([self._contexts[prefix] for prefix, _ in edges])
    return contexts, np.asarray([word for _, word in edges], np.int32)

  def _bounds(
    self, pool: Pool, view: View, edges: Sequence[Edge]
  ) -> dict[Edge, np.ndarray]:
    """Return the bounds of edges for all photos of a view, [n] each."""
    prefixes = list(dict.fromkeys(prefix for prefix, _ in edges))
    new = [prefix for prefix in prefixes if prefix not in self._subsets]
    if new:
      contexts = np.stack([self._contexts[prefix] for prefix in new])
      likeliest = self._readouts.likeliest(contexts)
      self._subsets.update(zip(new, likeliest, strict=True))
    # Those for which the same places lack are computed together.
    bounds = {edge: pool.bounds.get(edge)[: len(view)] for edge in edges}
    lacking: dict[int, list[Edge]] = {}
    for edge, bound in bounds.items():
      if len(bound) < len(view):
        lacking.setdefault(len(bound), []).append(edge)
    for there, some in lacking.items():
      contexts, words = self._arrays(some)
      subsets = np.stack([self._subsets[prefix] for prefix, _ in some])
      values = self._readouts.bounds(
        contexts, words, subsets, view.vectors[there:]
      )
      for edge, more in zip(some, values, strict=True):
        bounds[edge] = np.concatenate([bounds[edge], more])
        pool.bounds.put(edge, bounds[edge])
    return bounds

  def _best(
    self,
    view: View,
    sentences: Sequence[Sequence[int]],
    limit: int,
    bounds: dict[Edge, np.ndarray] | None,
  ) -> Found:
    edges = _edges(
      sentences
    )  # One that several sentences have counts so often.
    places = np.flatnonzero(view.alive)
    highest = np.full(len(places), np.inf)
    if bounds is not None:
      highest = np.zeros(len(places))
      for edge in edges:
        highest += bounds[edge][places]
    order = np.argsort(-highest, kind='stable')
    best, scores = np.zeros(0, np.int64), np.zeros(0)
    done = 0
    while done < len(order):
      # Nothing that is left can be as good as what was found.
      if len(best) == limit and scores[-1] > highest[order[done]] + _MARGIN:
        break
      size = _BLOCK if done or bounds is None else max(_FIRST, limit)
      part = places[order[done : done + size]]
      values = self._exact(list(dict.fromkeys(edges)), view.vectors[part])
      total = sum(values[edge].astype(np.float64) for edge in edges)
      if not np.isfinite(total).all():
        bad = part[~np.isfinite(total)][0]
        raise InputError(
          f'the model gives {view.entries[bad].name} no probability: it is '
          'damaged.'
        )
      best = np.concatenate([best, part])
      scores = np.concatenate([scores, total])
      kept = np.lexsort((best, -scores))[:limit]
      best, scores = best[kept], scores[kept]
      done += len(part)
    chances = self._log_chances(sentences)
    return Found(
      places=best,
      scores=scores,
      log_chance=None if chances is None else float(chances.sum()),
      view=view,
      num_exact=done,
    )

  def _log_chances(
    self, sentences: Sequence[Sequence[int]]
  ) -> np.ndarray | None:
    """Return log P(w) [S], the mean over training images of P(w|I)."""
    if not len(self._readouts.norm_vectors):
      return None
    return log_mean_exp(
      np.stack([sum(self._norms[e] for e in _edges([s])) for s in sentences])
    )


def _edges(sentences: Sequence[Sequence[int]]) -> list[Edge]:
  """Return the edges of sentences, word by word."""
  return [
    (tuple(s[:t]), int(s[t])) for s in sentences for t in range(1, len(s))
  ]

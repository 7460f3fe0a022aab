"""Self-critical training: sampled captions weighed by their CIDEr-D.

The policy gradient of Rennie et al. 2017, of each image with several samples,
each one's baseline being the mean reward of the others (Luo 2020).  The reward
counts ##END## as a word, without which captions lose their end (same place).

Letters: B rows, G captions a row, n samples of an image, T words of the longest
sample and its ##END##, D feature, V vocabulary.
"""

from collections.abc import Mapping
import concurrent.futures
from typing import Any

import jax
import numpy as np

from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import END, PAD, Vocabulary, tokenize
from mrnn_jax.decoding.generate import generate
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.metrics import cider_d
from mrnn_jax.metrics.cider import SCALE, CiderD
from mrnn_jax.runtime import parallel

# Parts of a batch: while one is drawn by the device, threads weigh the last.
_PARTS = 4
_THREADS = 2
# Lengths of samples are padded to multiples of it: few shapes to compile.
_LENGTHS = 8
_END_WORD = '##END##'


class Critic:
  """Draws samples before a step, and weighs them."""

  def __init__(
    self,
    split: datasets.CaptionSplit,
    vocabulary: Vocabulary,
    num_samples: int,
    max_words: int,
    seed: int,
  ):
    """Take the training captions, whose document frequencies are the reward's.

    Args:
      split: the training split.
      vocabulary: the model's words.
      num_samples: n, at least 2.
      max_words: of a sample.
      seed: of the samples.
    """
    self._split, self._vocabulary, self._seed = split, vocabulary, seed
    self._references = [
      [
        f'{" ".join(words)} {_END_WORD}'
        for text in texts
        if (words := tokenize(text))
      ]
      for texts in split.captions
    ]
    self._cider = CiderD(self._references)
    self._options = DecodeOptions(
      'sample', num_samples=num_samples, max_words=max_words
    )

  def prepare(
    self, setting: Any, state: Any, batch: Mapping[str, Any]
  ) -> dict[str, Any]:
    """Return a batch with samples of its captions' images.

    Args:
      setting: see ``objectives.Setting``.
      state: whose parameters draw.
      batch: of B rows, with captions [B, G] by number, -1 for none.

    Returns:
      The batch and 'samples' [B, G n, T] word ids, ##END## included; their
      'rewards' and 'advantages' [B, G n].
    """
    captions, n = batch['captions'], self._options.num_samples
    B, G = captions.shape
    there = np.flatnonzero(captions.ravel() >= 0)
    images = self._split.owner[captions.ravel()[there]]
    # Another process may have all the captions of a last batch.
    parts = np.array_split(np.arange(len(there)), min(_PARTS, len(there)) or 1)
    variables = {
      'params': parallel.unreplicate(state.params),
      'statistics': setting.statistics,
    }
    seed = self._seed * 2**20 + int(parallel.unreplicate(state.step))
    longest = self._options.max_words + 1
    tokens, weighing = [np.zeros((0, n, longest), np.int32)], []
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      for part in parts if len(there) else ():
        # Rows of the whole batch: the same ones on any number of processes.
        first = jax.process_index() * B * G + there[part[0]]
        drawn = generate(
          setting.model,
          variables,
          setting.devices,
          self._split.features[images[part]],
          self._options,
          seed=seed,
          first=int(first),
        )
        tokens.append(as_targets(drawn))
        weighing += [
          pool.submit(self.reward, image, words)
          for image, words in zip(images[part], tokens[-1], strict=True)
        ]
    rewards = np.zeros((len(there), n), np.float32)
    for row, weighed_row in zip(rewards, weighing, strict=True):
      row[:] = weighed_row.result()
    samples = np.concatenate(tokens)
    length = int((samples != PAD).sum(-1).max(initial=1))
    length = min(-(-length // _LENGTHS) * _LENGTHS, samples.shape[-1])
    whole = np.full((B * G, n, length), PAD, np.int32)
    whole[there] = samples[..., :length]
    weighed = np.zeros((2, B * G, n), np.float32)
    weighed[0, there] = rewards
    weighed[1, there] = advantages(rewards)
    return {
      **batch,
      'samples': whole.reshape(B, G * n, length),
      'rewards': weighed[0].reshape(B, G * n),
      'advantages': weighed[1].reshape(B, G * n),
    }

  def reward(self, image: int, samples: np.ndarray) -> list[float]:
    """Return the CIDEr-D of samples [n, T] of a training image."""
    texts = []
    for row in samples:
      words = [self._vocabulary.words[i] for i in row if i not in (PAD, END)]
      texts.append(' '.join([*words, _END_WORD] if END in row else words))
    return [
      SCALE * self._cider.mean_similarity(text, self._references[image])
      for text in texts
    ]


def advantages(rewards: np.ndarray) -> np.ndarray:
  """Return rewards [..., n], each less the mean of the others."""
  n = rewards.shape[-1]
  others = (rewards.sum(-1, keepdims=True) - rewards) / (n - 1)
  return rewards - others


def as_targets(drawn: Decoded) -> np.ndarray:
  """Return samples [N, n, W + 1] with their ##END##, where they have one."""
  words, lengths, cut = (
    np.asarray(x) for x in (drawn.words, drawn.lengths, drawn.cut)
  )
  targets = np.pad(words, [(0, 0), (0, 0), (0, 1)], constant_values=PAD)
  places = np.arange(targets.shape[-1])
  targets[places >= lengths[..., None]] = PAD
  targets[(places == lengths[..., None]) & ~cut[..., None]] = END
  return targets.astype(np.int32)


def validate(
  model: Any,
  variables: Any,
  devices: list[jax.Device],
  split: datasets.CaptionSplit,
  vocabulary: Vocabulary,
  max_words: int,
) -> float:
  """Return the CIDEr-D of a split's greedy captions, as it is measured.

  All processes call this at the same time and share the work.
  """
  drawn = generate(
    model,
    variables,
    devices,
    split.features.all(),
    DecodeOptions(max_words=max_words),
    everywhere=True,
  )
  captions = [
    ' '.join(vocabulary.words[i] for i in words[0][: lengths[0]])
    for words, lengths in zip(drawn.words, drawn.lengths, strict=True)
  ]
  references = [
    [' '.join(words) for text in texts if (words := tokenize(text))]
    for texts in split.captions
  ]
  return float(cider_d(captions, references).mean())

import dataclasses
import itertools

import numpy as np
import pytest
from table_model import (
  NEVER,
  assert_same_captions,
  captions,
  next_log_probs,
  random_images,
  random_table,
  run,
)

from mrnn_jax.config import Config
from mrnn_jax.config.decoding import decode_options
from mrnn_jax.data.vocabulary import END
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.runtime.errors import InputError


def groups_by_hand(table, image, options, max_words):
  """The best of diverse groups as ``captions`` gives them, word by word."""
  size = options.beam_size // options.beam_groups
  alpha = options.length_penalty

  def score(log_prob, L):
    return log_prob / L**alpha if alpha else log_prob

  # (words, log_prob, L, done) of each hypothesis of each group.
  groups = [[((), 0.0, 0, False)] for _ in range(options.beam_groups)]
  for _ in range(max_words):
    taken = np.zeros(table.shape[0])
    for g, group in enumerate(groups):
      found = []  # (what it competes with, hypothesis, word)
      for words, log_prob, L, done in group:
        if done:
          found.append((score(log_prob, L), (words, log_prob, L, True), None))
          continue
        log_probs = next_log_probs(table, image, words)
        for word in set(range(table.shape[0])) - set(NEVER):
          own = log_prob + log_probs[word]
          cost = options.diversity_penalty * taken[word]
          longer = words if word == END else (*words, word)
          over = word == END or len(longer) == max_words
          new = (longer, own, L + 1, over)
          found.append((score(own - cost, L + 1), new, word))
      found = sorted(found, key=lambda f: -f[0])[:size]
      for _, _, word in found:
        if word is not None:
          taken[word] += 1
      groups[g] = [hypothesis for _, hypothesis, _ in found]
  merged = {}
  for words, log_prob, L, _ in itertools.chain(*groups):
    cut = len(words) == L
    merged.setdefault(words, (words, log_prob, score(log_prob, L), cut))
  merged = sorted(merged.values(), key=lambda caption: -caption[2])
  return merged[: options.num_best]


@pytest.mark.parametrize(
  ('groups', 'num_best', 'alpha'), [(3, 2, 0.7), (2, 1, 0.0)]
)
def test_groups_are_those_of_plain_python(groups, num_best, alpha):
  # In row 42, stopping early needs each group in the order of its scores.
  table, images = random_table(9, 11, scale=1.0), random_images(200, 9)[150:]
  options = DecodeOptions(
    'beam',
    beam_size=6,
    num_best=num_best,
    beam_groups=groups,
    diversity_penalty=0.6,
    length_penalty=alpha,
    max_words=7,
  )
  # Taken as soon as it is settled, not when others are.
  result = run(table, images, options, num_slots=1)
  for row in range(50):
    expected = groups_by_hand(table, images[row], options, 7)
    assert_same_captions(captions(result, row), expected)


def test_groups_without_penalty_are_a_smaller_beam():
  table, images = random_table(9, 11, scale=1.0), random_images(20, 9)
  options = DecodeOptions(
    'beam', beam_size=6, num_best=6, beam_groups=2, diversity_penalty=0.0
  )
  result = run(table, images, options)
  smaller = dataclasses.replace(options, beam_size=3, num_best=3, beam_groups=1)
  expected = run(table, images, smaller)
  for row in range(20):
    # What the second group finds too is there once.
    assert captions(result, row) == captions(expected, row)
  assert (result.log_probs[:, 3:] == -np.inf).all()


def test_groups_begin_with_other_words():
  table, images = random_table(9, 11, scale=1.0), random_images(20, 9)
  table = table.at[..., END].add(-50.0)
  options = DecodeOptions(
    'beam',
    beam_size=3,
    num_best=3,
    beam_groups=3,
    diversity_penalty=100.0,
    max_words=4,
  )
  result = run(table, images, options)
  for words in result.words:
    for t in range(4):
      assert len(set(words[:, t])) == 3
  assert (result.log_probs > -40).all()  # The model's own, without the cost.


def test_groups_of_the_command_line():
  options = decode_options(
    Config(beam_size=6, beam_groups=3, diversity_penalty=0.7)
  )
  assert (options.num_groups, options.diversity_penalty) == (3, 0.7)
  with pytest.raises(InputError, match='--beam_size=10 .* --beam_groups=4 '):
    Config(beam_size=10, beam_groups=4)
  with pytest.raises(InputError, match='--sample'):
    Config(beam_size=4, beam_groups=2, sample=True)

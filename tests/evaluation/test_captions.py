"""Lines of ``captions.jsonl`` from what a search found."""

import json
import math

import numpy as np
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax.data.vocabulary import SPECIAL_WORDS, Vocabulary
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.evaluation import captions
from mrnn_jax.runtime.errors import InputError

VOCABULARY = Vocabulary((*SPECIAL_WORDS, 'a', 'dog', 'runs'))
A, DOG, RUNS = 4, 5, 6
FEATURES = np.asarray([[1.0], [2.0]])
NO_CAPTION = -math.inf


class Search:
  """Found two hypotheses for the first image, and one for the second."""

  vocabulary, devices, calibration = VOCABULARY, [None], None

  def __init__(self, second=-4.0):
    self.asked = {}
    self._found = Decoded(
      words=np.asarray([[[A, DOG, 0], [RUNS, 0, 0]], [[A, A, A], [0, 0, 0]]]),
      lengths=np.asarray([[2, 1], [3, 0]]),
      num_targets=np.asarray([[3, 2], [3, 0]]),
      log_probs=np.asarray([[-6.0, -7.0], [second, NO_CAPTION]]),
      scores=np.asarray([[-2.0, -3.5], [-1.0, NO_CAPTION]]),
      cut=np.asarray([[False, False], [True, False]]),
    )

  def generate(self, features, options, **how):
    self.asked = {'features': features, 'options': options, **how}
    return self._found


def lines(model, prefix='', consensus=None, **options):
  config = config_lib.Config(task='caption', **options)
  return captions.caption_lines(
    model, ['x', 'y'], FEATURES, config, prefix, consensus
  )


def test_lines_by_hand():
  model = Search()
  first, second = lines(model, beam_size=2, nbest=2)
  best = {
    'caption': 'a dog',
    'log_prob': -6.0,
    'score': -2.0,
    'perplexity': pytest.approx(math.exp(6 / 3)),
    'cut': False,
  }
  other = {
    'caption': 'runs',
    'log_prob': -7.0,
    'score': -3.5,
    'perplexity': pytest.approx(math.exp(7 / 2)),
    'cut': False,
  }
  assert first == {'image_id': 'x', **best, 'nbest': [best, other]}
  assert second['caption'] == 'a a a'
  assert second['cut'] is True
  assert len(second['nbest']) == 1
  assert model.asked['options'].num_best == 2
  assert model.asked['prefixes'] == [[], []]
  json.dumps([first, second])


def test_given_words_begin_the_caption_and_are_not_counted(capsys):
  model = Search()
  first, _ = lines(model, prefix='The DOG', beam_size=2)
  assert model.asked['prefixes'] == [[3, DOG], [3, DOG]]
  assert first['caption'] == 'the dog a dog'
  assert first['perplexity'] == pytest.approx(math.exp(2))
  assert 'nbest' not in first
  assert 'does not know the of --prefix' in capsys.readouterr().err


def test_an_image_without_a_caption_is_named():
  with pytest.raises(InputError, match='no caption of y keeps to --min_words'):
    lines(Search(second=NO_CAPTION), beam_size=2)


class Shortest:
  """Agrees most with the shortest caption."""

  def neighbors(self, features):
    return features[:, 0].astype(int).tolist()

  def scores(self, neighbors, found):
    return [neighbors / len(text) for text in found]


def test_consensus_puts_the_most_agreed_first():
  model = Search()
  first, second = lines(
    model, consensus=Shortest(), beam_size=2, nbest=2, rerank_neighbors=5
  )
  assert [x['caption'] for x in first['nbest']] == ['runs', 'a dog']
  assert first['caption'] == 'runs'
  assert [x['consensus'] for x in first['nbest']] == [1 / 4, 1 / 5]
  assert second['consensus'] == 2 / 5
  assert len(second['nbest']) == 1

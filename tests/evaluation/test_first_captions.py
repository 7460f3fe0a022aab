"""``first_caption_only``, and lengths that no caption can keep to."""

import types

import numpy as np
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import PAD, SPECIAL_WORDS, Vocabulary
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.evaluation import evaluate, reference_length
from mrnn_jax.runtime.errors import InputError

VOCABULARY = Vocabulary((*SPECIAL_WORDS, 'a', 'dog', 'runs', 'cat'))
A, DOG, RUNS, CAT = range(4, 8)
RECORDS = [
  {'image_id': 'x', 'feature': np.ones(2), 'captions': ['A dog.', 'A cat.']},
  {'image_id': 'y', 'feature': np.zeros(2), 'captions': ['Runs', 'a a cat']},
]


def splits():
  return [
    datasets.make_split('test', RECORDS, VOCABULARY, first_caption_only=first)
    for first in (False, True)
  ]


class Echo:
  """Answers with given words, whatever the image."""

  vocabulary, devices = VOCABULARY, [None]

  def __init__(self, answers):
    self.answers, self.asked = answers, []

  def generate(self, features, options, prefixes, max_words, **how):
    self.asked = list(zip(features[:, 0], prefixes, max_words, strict=True))
    width = max(max_words)
    words = np.full((len(features), 1, width), PAD)
    for row, answer in zip(words, self.answers, strict=True):
      row[0, : len(answer or [])] = answer or []
    log_probs = np.asarray([[-1.0 if x else -np.inf] for x in self.answers])
    return Decoded(words, None, None, log_probs, log_probs, None)


def measure(tmp_path, answers, **options):
  config = config_lib.Config(
    task='evaluate',
    workdir=str(tmp_path),
    length_protocol='reference',
    **options,
  )
  model = Echo(answers)
  split = splits()[0]
  return model, reference_length.measure(model, split, config, ['a cat'])


def test_one_caption_for_each_first_sentence(tmp_path):
  model, result = measure(tmp_path, [[A, CAT], [CAT]], first_caption_only=True)
  assert model.asked == [(1, [], 2), (0, [], 1)]
  # Against all references: "a cat" is the second of x; "cat" is in y's second.
  assert result['bleu']['cumulative'][0] == 1.0
  assert result['skipped'] == 0


def test_one_caption_for_every_sentence_without_it(tmp_path):
  model, result = measure(tmp_path, [[A, CAT], [RUNS, RUNS], [CAT], [A] * 3])
  assert model.asked == [(1, [], 2), (1, [], 2), (0, [], 1), (0, [], 3)]
  # 2 of 2, 0 of 2, 1 of 1 and, clipped to two, 2 of 3.
  assert result['bleu']['cumulative'][0] == pytest.approx(5 / 8)


def test_context_words_skip_what_they_use_up(tmp_path):
  model, result = measure(
    tmp_path, [[DOG]], first_caption_only=True, context_words=1
  )
  assert model.asked == [(1, [A], 1)]
  assert result['skipped'] == 1
  with pytest.raises(InputError, match='first 3: lower --context_words'):
    measure(tmp_path, [], context_words=3)


def test_a_length_that_no_caption_keeps_to_is_told(tmp_path):
  """Where all words are barred there is no caption: not one of padding."""
  with pytest.raises(InputError, match='2 words for x .*--no_repeat_ngram=1'):
    measure(
      tmp_path,
      [[A, CAT], None, [CAT], [A, A, A]],
      no_repeat_ngram=1,
    )
  assert list(tmp_path.iterdir()) == []


def test_sentences_are_those_that_are_measured():
  whole, first = splits()
  model = types.SimpleNamespace(
    writes=True,
    config=config_lib.Config(matmul_precision='high'),
    vocabulary=VOCABULARY,
    dataset={'encoder': {'name': 'n', 'weights': ''}},
    ensemble=None,
    devices=[types.SimpleNamespace(platform='cpu')],
  )
  config = config_lib.Config(task='evaluate', first_caption_only=True)
  found = evaluate.convention(model, whole, first, config)
  assert (found['sentences'], found['references']) == (2, 2.0)
  assert found['matmul_precision'] == 'high'
  assert found['compute_dtype'] == 'float32'
  found = evaluate.convention(model, whole, whole, config)
  assert found['sentences'] == 4
  assert (found['max_words'], found['min_words']) == (30, 0)
  found = evaluate.convention(
    model, whole, whole, config.replace(length_protocol='reference')
  )
  assert (found['max_words'], found['length_penalty']) == (None, None)

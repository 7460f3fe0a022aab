from hypothesis import given
from hypothesis import strategies as st
import pytest

from mrnn_jax.data import vocabulary
from mrnn_jax.data.vocabulary import (
  END,
  PAD,
  START,
  UNK,
  Vocabulary,
  tokenize,
)


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('A man , in a T-shirt .', 'a man in a t shirt'),
    ("the dog's  Ball", 'the dogs ball'),
    ('Café naïve Ångström', 'cafe naive angstrom'),
    ('semi\u2010detached non\u2011breaking \uff0dwide', None),
    ('tab\tand\u00a0no-break\u2003em', 'tab and no break em'),
    ('\u0130stanbul', 'istanbul'),
    ('3 dogs & 2 cats!', '3 dogs 2 cats'),
    ('日本 ...', ''),
    ('ﬁne ½', 'fine 12'),
  ],
)
def test_tokenize(text, words):
  if words is None:
    words = 'semi detached non breaking wide'
  assert tokenize(text) == words.split()


@given(st.text())
def test_tokens_are_plain_and_stay_as_they_are(text):
  words = tokenize(text)
  assert all(
    c.isascii() and (c.isdigit() or c.islower()) for c in ''.join(words)
  )
  assert all(words)
  assert tokenize(' '.join(words)) == words


def test_most_frequent_first_ties_alphabetical():
  counts = vocabulary.count_words(['b a b', 'c a d', 'zebra'])
  assert list(counts.items()) == [
    ('a', 2),
    ('b', 2),
    ('c', 1),
    ('d', 1),
    ('zebra', 1),
  ]
  assert Vocabulary.from_counts(counts, 2).words[4:] == ('a', 'b')
  assert len(Vocabulary.from_counts(counts, 1)) == 9


def test_special_words_have_the_ids_that_stored_models_know():
  assert (PAD, START, END, UNK) == (0, 1, 2, 3)
  names = ('##PAD##', '##START##', '##END##', '##UNK##')
  assert names == vocabulary.SPECIAL_WORDS
  assert Vocabulary.from_counts({'a': 1}, 1).words == (*names, 'a')


def test_encode_and_decode():
  words = Vocabulary.from_counts({'dog': 2, 'a': 3}, 1)
  ids = words.encode_caption('A dog barks.')
  assert ids == [START, 4, 5, UNK, END]
  assert words.decode([*ids, 4]) == 'a dog ##UNK##'
  assert words.decode([PAD, 4, PAD, 5]) == 'a dog'


def test_a_vocabulary_is_what_it_says():
  with pytest.raises(ValueError, match='begins with'):
    Vocabulary(('a',))
  with pytest.raises(ValueError, match='twice'):
    Vocabulary((*vocabulary.SPECIAL_WORDS, 'a', 'a'))

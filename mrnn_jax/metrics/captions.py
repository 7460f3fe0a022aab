"""What can be said of captions alone, and the check that all measures share."""

from collections.abc import Iterable, Sequence

from mrnn_jax.data import vocabulary
from mrnn_jax.runtime.errors import InputError


def check_captions(
  hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> None:
  """Check that every hypothesis has references to be measured against.

  Args:
    hypotheses: [N] tokenised captions, words separated by spaces.
    references: [N] tokenised references of each hypothesis, any number each.

  Raises:
    InputError: there is no hypothesis, the two differ in length, or a
      hypothesis has no reference or one without a word.
  """
  if not len(hypotheses):
    raise InputError('There is no hypothesis to measure.')
  if len(hypotheses) != len(references):
    raise InputError(
      f'{len(hypotheses)} hypotheses cannot be measured against the '
      f'references of {len(references)}.'
    )
  for i, texts in enumerate(references):
    if isinstance(texts, str):
      raise InputError(f'References {i} are one string, not a list of strings.')
    if not len(texts):
      raise InputError(f'Hypothesis {i} has no reference.')
    if not all(text.strip() for text in texts):
      raise InputError(f'Hypothesis {i} has a reference without a word.')


def caption_statistics(
  hypotheses: Sequence[str], training_captions: Iterable[str] | None = None
) -> dict[str, int | float | None]:
  """Count how varied, how new and how long captions are.

  Args:
    hypotheses: captions, raw or tokenised.
    training_captions: the captions the model was trained on, raw or tokenised;
      None if they are not known.

  Returns:
    'distinct': the number of different hypotheses; 'copied_from_training': the
    share that stands word for word among the training captions, None without
    them; 'mean_words': the mean number of words.  All compare words as
    ``vocabulary.tokenize`` gives them.

  Raises:
    InputError: there is no hypothesis.
  """
  if not len(hypotheses):
    raise InputError('There is no hypothesis to measure.')
  words = [tuple(vocabulary.tokenize(text)) for text in hypotheses]
  copied = None
  if training_captions is not None:
    seen = {tuple(vocabulary.tokenize(text)) for text in training_captions}
    copied = sum(caption in seen for caption in words) / len(words)
  return {
    'distinct': len(set(words)),
    'copied_from_training': copied,
    'mean_words': sum(map(len, words)) / len(words),
  }

"""Fields that say how captions are written."""

import dataclasses
from typing import Any

from mrnn_jax.config.fields import When, flag
from mrnn_jax.config.task_facts import EVALUATION, WRITING

# What is chosen with a model, and remembered beside it.
_CHOSEN: dict[str, Any] = {'tasks': ('train', *WRITING), 'remembered': True}

_SEARCH = When(lambda c: not c.sample, 'with --sample', 'leave out --sample')
_STOPS = When(
  lambda c: c.length_protocol != 'reference',
  'with --length_protocol=reference, which counts words by the references',
  'leave that out',
)
_SAMPLING = When(lambda c: c.sample, 'without --sample', 'add --sample')
_GROUPS = When(
  lambda c: c.beam_groups > 1,
  'without --beam_groups',
  'add --beam_groups above 1',
)
_RERANKING = When(
  lambda c: c.rerank_neighbors,
  'without --rerank_neighbors',
  'add --rerank_neighbors',
)
_PMI = When(lambda c: c.rerank == 'pmi', 'without --rerank=pmi', 'add that')


@dataclasses.dataclass(frozen=True)
class WritingFields:
  """How words are chosen."""

  beam_size: int = flag(
    3,
    'Beam width; 1: the most probable word each time.',
    when=(_SEARCH,),
    low=1,
    **_CHOSEN,
  )
  nbest: int = flag(
    1,
    'Captions an image to write; the beam grows to hold them.',
    WRITING,
    when=(_STOPS,),
    low=1,
  )
  beam_groups: int = flag(
    1,
    'Divide the beam into so many groups that are kept different from each '
    'other (it grows to the next multiple); --nbest are the best of all, each '
    'but once.',
    WRITING,
    when=(_SEARCH,),
    low=1,
  )
  diversity_penalty: float = flag(
    0.5,
    'With beam_groups: what a word costs for each hypothesis of earlier groups '
    'that has it at the same place, in units of log-probability.',
    WRITING,
    when=(_GROUPS,),
    low=0,
    high=1e6,
  )
  length_penalty: float = flag(
    0.0,
    'Beam scores are divided by length to this power.',
    when=(_SEARCH, _STOPS),
    low=0,
    **_CHOSEN,
  )
  max_words: int = flag(
    30,
    'Words a caption may have at most.',
    when=(_STOPS,),
    low=1,
    **_CHOSEN,
  )
  min_words: int = flag(
    0,
    'Words a caption must have at least.',
    when=(_STOPS,),
    low=0,
    **_CHOSEN,
  )
  no_repeat_ngram: int = flag(
    0,
    'No so many words in a row twice in a caption; 0: no such rule.',
    low=0,
    **_CHOSEN,
  )
  sample: bool = flag(
    False, 'Draw words at random instead of searching.', WRITING
  )
  temperature: float = flag(
    1.0,
    'Of sampling: below 1 is bolder.',
    WRITING,
    when=(_SAMPLING,),
    above=0,
  )
  top_k: int = flag(
    0,
    'Sample among the K likeliest words; 0: all.',
    WRITING,
    when=(_SAMPLING,),
    low=0,
  )
  top_p: float = flag(
    1.0,
    'Sample among the likeliest words that hold this probability.',
    WRITING,
    when=(_SAMPLING,),
    above=0,
    high=1,
  )
  sample_seed: int = flag(
    0, 'Seed of sampling.', WRITING, when=(_SAMPLING,), low=0
  )
  prefix: str = flag(
    '', 'Words that every caption begins with (task=caption).', ('caption',)
  )
  rerank_neighbors: int = flag(
    0,
    'Choose among the hypotheses of a beam the one most like the captions of '
    'so many training images nearest to the image (60 is usual); 0: the '
    'likeliest.',
    WRITING,
    low=0,
  )
  rerank_captions: int = flag(
    125,
    'With rerank_neighbors: of their captions so many count, the most '
    'similar ones.',
    WRITING,
    when=(_RERANKING,),
    low=1,
  )
  rerank: str = flag(
    '',
    'pmi: order the hypotheses of a beam by P(w|I) / P(w)^a, P(w) from 30 '
    'training images that the model carries, so that captions say less of what '
    'is often said.',
    WRITING,
    choices=('', 'pmi'),
  )
  rerank_exponent: float = flag(
    0.6,
    'With rerank=pmi: a; 0: the likeliest.',
    WRITING,
    when=(_PMI,),
    low=0,
    high=10,
  )
  rerank_weight: float = flag(
    0.01,
    'With rerank=pmi and rerank_neighbors: what a unit of log P(w|I) / P(w)^a '
    'counts beside the likeness to the captions of similar images, which is 0 '
    'to 1.',
    WRITING,
    when=(_PMI, _RERANKING),
    low=0,
    high=10,
  )
  confidence_cider: float = flag(
    0.5,
    'CIDEr-D that a caption is to be above: confidence is the chance that it '
    'is (task=calibrate).',
    ('calibrate',),
    low=0,
    high=10,
  )
  length_protocol: str = flag(
    'end_sign',
    'For BLEU: the model stops by itself (end_sign), or one caption for each '
    'reference sentence with as many words as it has (reference).',
    EVALUATION,
    choices=('end_sign', 'reference'),
  )
  context_words: int = flag(
    0,
    'With length_protocol=reference: start from so many words of the '
    'sentence, and judge the rest.',
    EVALUATION,
    low=0,
  )

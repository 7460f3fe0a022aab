"""How a configuration wants captions to be written."""

from mrnn_jax.config.settings import Config
from mrnn_jax.decoding.options import DecodeOptions


def decode_options(config: Config) -> DecodeOptions:
  """Return how the configuration wants words to be chosen."""
  method = 'beam' if config.beam_size > 1 else 'greedy'
  return DecodeOptions(
    method='sample' if config.sample else method,
    beam_size=config.beam_size,
    num_best=config.nbest,
    beam_groups=config.beam_groups,
    diversity_penalty=config.diversity_penalty,
    num_samples=config.nbest,
    temperature=config.temperature,
    top_k=config.top_k,
    top_p=config.top_p,
    length_penalty=config.length_penalty,
    max_words=config.max_words,
    min_words=config.min_words,
    no_repeat_ngram=config.no_repeat_ngram,
  )

"""Published results, to print beside ours."""

from typing import Any

PAPER = 'Mao et al. 2014'


def _row(
  ppl: float | None,
  bleu: tuple[float, ...],
  image_to_text: tuple[float, ...] | None = None,
  text_to_image: tuple[float, ...] | None = None,
) -> dict[str, Any]:
  names = ('r@1', 'r@5', 'r@10', 'median_rank')
  retrieval = None
  if image_to_text and text_to_image:
    retrieval = {
      'image_to_text': dict(zip(names, image_to_text, strict=True)),
      'text_to_image': dict(zip(names, text_to_image, strict=True)),
    }
  return {
    'perplexity': {'corpus': ppl},
    'bleu': {'cumulative': list(bleu)},
    'retrieval': retrieval,
  }


# Tables 1 to 5 of the paper.  The features of its m-RNN are those of AlexNet's
# seventh layer (decaf).
RESULTS = {
  ('iaprtc12', 'rnn-base'): _row(7.77, (0.3134, 0.1168, 0.0803)),
  ('iaprtc12', 'm-rnn'): _row(
    6.92,
    (0.3951, 0.1828, 0.1311),
    (20.9, 43.8, 54.4, 8),
    (13.2, 31.2, 40.8, 21),
  ),
  ('flickr8k', 'rnn-base'): _row(30.39, (0.4383, 0.1849, 0.1339)),
  ('flickr8k', 'm-rnn'): _row(
    24.39,
    (0.5778, 0.2751, 0.2307),
    (14.5, 37.2, 48.5, 11),
    (11.5, 31.0, 42.4, 15),
  ),
  ('flickr30k', 'rnn-base'): _row(43.96, (0.4699, 0.1964, 0.1252)),
  ('flickr30k', 'm-rnn'): _row(
    35.11,
    (0.5479, 0.2392, 0.1952),
    (18.4, 40.2, 50.9, 10),
    (12.6, 31.2, 41.5, 16),
  ),
}


def paper_row(dataset: str, model: str) -> dict[str, Any] | None:
  """Return the paper's results, as far as it gives them, or None."""
  return RESULTS.get((dataset, model))

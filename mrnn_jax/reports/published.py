"""Published results, to print beside ours."""

from typing import Any

PAPER = 'Mao et al. 2014'


def _row(
  ppl: float | None = None,
  bleu: tuple[float, ...] = (),
  image_to_text: tuple[float, ...] | None = None,
  text_to_image: tuple[float, ...] | None = None,
) -> dict[str, Any]:
  """Return results in the form of evaluation.json."""
  names = ('r@1', 'r@5', 'r@10', 'median_rank')
  directions = {'image_to_text': image_to_text, 'text_to_image': text_to_image}
  retrieval = {
    direction: dict(zip(names, values, strict=True))
    for direction, values in directions.items()
    if values
  }
  return {
    'perplexity': {'corpus': ppl},
    'bleu': {'cumulative': list(bleu)},
    'retrieval': retrieval or None,
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

# What the paper's Tables 1 to 4 quote of others, by dataset: system -> results.
_DEVISE = _row(None, (), (4.8, 16.5, 27.3, 28), (5.9, 20.1, 29.6, 29))
OTHERS = {
  'iaprtc12': {
    'BACK-OFF GT2': _row(54.5, (0.323, 0.145, 0.059)),
    'BACK-OFF GT3': _row(55.6, (0.312, 0.131, 0.059)),
    'LBL': _row(20.1, (0.327, 0.144, 0.068)),
    'MLBL-B': _row(24.7, (0.373, 0.187, 0.098)),
    'MLBL-F': _row(21.8, (0.361, 0.176, 0.092)),
    'Gupta et al.': _row(None, (0.15, 0.06, 0.01)),
    'Gupta & Mannem': _row(None, (0.33, 0.18, 0.07)),
  },
  'flickr8k': {
    'DeViSE': _DEVISE,
    'Socher (decaf)': _row(
      None, (), (4.5, 18.0, 28.6, 32), (6.1, 18.5, 29.0, 29)
    ),
    'Socher (avg rcnn)': _row(
      None, (), (6.0, 22.7, 34.0, 23), (6.6, 21.6, 31.7, 25)
    ),
    'DeepFE (decaf)': _row(
      None, (), (5.9, 19.2, 27.3, 34), (5.2, 17.6, 26.5, 32)
    ),
    'DeepFE (rcnn)': _row(
      None, (), (12.6, 32.9, 44.0, 14), (9.7, 29.6, 42.5, 15)
    ),
    'Random': _row(None, (), (0.1, 0.5, 1.0, 631), (0.1, 0.5, 1.0, 500)),
  },
  'flickr30k': {
    'DeViSE (avg rcnn)': _DEVISE,
    'DeepFE (rcnn)': _row(
      None, (), (16.4, 40.2, 54.7, 8), (10.3, 31.4, 44.5, 13)
    ),
    'Random': _row(None, (), (0.1, 0.6, 1.1, 631), (0.1, 0.5, 1.0, 500)),
  },
}

# A later system of the same family, "merge" of the public project
# mtanti/where-image2: the mean of three runs.  Its perplexity is a geometric
# mean, and it ranks 1000 first captions for 1000 images.
LATER = {
  'flickr8k': {
    'merge, VGG fc7 (PPL and retrieval: first captions only)': {
      **_row(None, (0.600, 0.413, 0.273, 0.178), None, (17.3, 41.1, 54.6, 8.5)),
      'perplexity': {'geometric_mean': 13.96},
      'cider_d': 0.469,
      'rouge_l': 0.44,
    },
  },
}


def published_rows(dataset: str) -> dict[str, dict[str, Any]]:
  """Return all that was published on a dataset.

  Returns:
    A label that says whose result it is -> the result as evaluation.json has
    it, as far as it was published; {} where nothing is known.
  """
  rows = {
    f'{model}, {PAPER}': row
    for (name, model), row in RESULTS.items()
    if name == dataset
  }
  for system, row in OTHERS.get(dataset, {}).items():
    rows[f'{system}, quoted by {PAPER}'] = row
  for system, row in LATER.get(dataset, {}).items():
    rows[f'{system}, mtanti/where-image2'] = row
  return rows


def paper_row(dataset: str, model: str) -> dict[str, Any] | None:
  """Return the paper's results, as far as it gives them, or None."""
  return RESULTS.get((dataset, model))

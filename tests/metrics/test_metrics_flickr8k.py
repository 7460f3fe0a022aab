"""What people score on Flickr8K; golden values by pycocoevalcap 1.2.

$MRNN_DATA is the directory that holds ``flickr8k/``.
"""

import os
import pathlib

import pytest

from mrnn_jax import metrics
from mrnn_jax.data.vocabulary import tokenize

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    'MRNN_DATA' not in os.environ, reason='$MRNN_DATA is not set'
  ),
]


@pytest.fixture(scope='module')
def captions():
  """The tokenised captions of each test image, in the order of the list."""
  root = pathlib.Path(os.environ['MRNN_DATA'], 'flickr8k')
  by_image = {}
  text = (root / 'Flickr8k.token.txt').read_text(encoding='utf-8')
  for line in text.splitlines():
    name, caption = line.split('\t')
    words = ' '.join(tokenize(caption))
    by_image.setdefault(name.split('#')[0], []).append(words)
  names = (root / 'Flickr_8k.testImages.txt').read_text().split()
  return [by_image[name] for name in names]


def _check(hypotheses, references, precisions, cumulative, cider_d, rouge_l):
  result = metrics.bleu(hypotheses, references)
  assert result['precisions'] == pytest.approx(precisions, abs=5e-7)
  assert result['cumulative'] == pytest.approx(cumulative, abs=5e-7)
  assert result['brevity_penalty'] == 1.0
  result = metrics.cider_d(hypotheses, references)
  assert result.mean() == pytest.approx(cider_d, abs=5e-7)
  result = metrics.rouge_l(hypotheses, references)
  assert result.mean() == pytest.approx(rouge_l, abs=5e-7)


def test_first_caption_against_the_other_four(captions):
  _check(
    [texts[0] for texts in captions],
    [texts[1:] for texts in captions],
    [0.63686148, 0.31304862, 0.14410767, 0.06806733],
    [0.63686148, 0.44650712, 0.30627717, 0.21029098],
    0.7925398789,
    0.4879216259,
  )


def test_first_caption_against_one_to_four(captions):
  _check(
    [texts[0] for texts in captions],
    [texts[1 : 2 + i % 4] for i, texts in enumerate(captions)],
    [0.53909687, 0.24361377, 0.10942116, 0.05098906],
    [0.53909687, 0.36239677, 0.24312147, 0.16452684],
    0.8512069215,
    0.4472802114,
  )

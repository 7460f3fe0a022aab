"""Results as evaluation leaves them, made up, and the page that shows them."""

import html
import json
import re

from mrnn_jax import config as config_lib

HOSTILE = '</script><img src=x onerror="document.title=1">\'&'
NUM_IMAGES = 30


def image_id(i):
  return f'{i:03d}.jpg'


def sentences(i):
  first = HOSTILE if i == 7 else f'a {"dog" if i % 3 == 0 else "cat"} runs'
  return [first, f'picture number {i} , café']


def write_lines(path, lines):
  path.write_text(''.join(json.dumps(x) + '\n' for x in lines))


def make_captions():
  return [
    {
      'image_id': image_id(i),
      'caption': HOSTILE if i == 7 else f'the animal {i}',
      'log_prob': -i - 1.0,
      'perplexity': 2.0 + i,
      'cut': i == 5,
    }
    for i in range(NUM_IMAGES)
  ]


def make_queries():
  lines = []
  for i in range(NUM_IMAGES):
    wrong = (i + 1) % NUM_IMAGES
    top = [
      {'caption': sentences(k)[0], 'image_id': image_id(k), 'score': -1.0 - n}
      for n, k in enumerate((wrong, i))
    ]
    lines.append(
      {'query': 'image', 'image_id': image_id(i), 'rank': i + 1, 'top': top}
    )
  for i in range(NUM_IMAGES):
    for text in sentences(i):
      top = [
        {'image_id': image_id(k), 'score': -2.0} for k in (i, 0 if i else 1)
      ]
      lines.append(
        {
          'query': 'sentence',
          'caption': text,
          'image_id': image_id(i),
          'rank': 1,
          'top': top,
        }
      )
  return lines


def make_evaluation():
  ranks = {'r@1': 12.5, 'r@5': 30.0, 'r@10': 40.0, 'median_rank': 14.0}
  curve = {
    'percent': [0, 1, 10, 100],
    'true_items': [0, 0.5, 1.5, 2.0],
    'share': [0, 0.25, 0.75, 1],
  }
  return {
    'dataset': 'flickr8k',
    'split': 'test',
    'model': 'm-rnn',
    'step': 4200,
    'convention': {'beam_size': 3, 'ties': 'against', 'oddity': HOSTILE},
    'perplexity': {'corpus': 17.91},
    'bleu': {'cumulative': [0.6, 0.4, 0.3, 0.2]},
    'cider_d': 0.514,
    'retrieval': {
      'image_to_text': ranks,
      'text_to_image': ranks,
      'norm_images': {'0': ranks, '300': {**ranks, 'r@1': 23.75}},
      'recall_curve': {'image_to_text': curve, 'text_to_image': curve},
    },
    'chance': {'image_to_text': ranks, 'text_to_image': ranks},
  }


def make_config(workdir, **changes):
  options = {'task': 'report', 'workdir': str(workdir), 'data_dir': '/nowhere'}
  return config_lib.Config(**{**options, **changes})


def gallery_data(path):
  text = path.read_text()
  (data,) = re.findall(r'id="gallery-data">(.*?)</script>', text, re.DOTALL)
  return json.loads(data)


def shown(path):
  """Return a page's own text, without style, script and data."""
  text = re.sub(r'(?s)<(style|script)\b.*?</\1>', '', path.read_text())
  return ' '.join(html.unescape(re.sub('<[^>]*>', ' ', text)).split())

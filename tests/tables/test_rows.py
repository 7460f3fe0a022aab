"""Rows: means over seeds, published figures, differences."""

import pathlib

import numpy as np
import pytest

from mrnn_jax.metrics import bootstrap
from mrnn_jax.reports.gallery import Gallery
from mrnn_jax.tables import forms, per_image, rows, systems, write

# Name, PPL, B-1 to B-3, ranks of sentences and of images: as printed.
PUBLISHED = {
  'iaprtc12': """
    rnn-base|7.77|.3134 .1168 .0803||
    m-rnn|6.92|.3951 .1828 .1311|20.9 43.8 54.4 8|13.2 31.2 40.8 21
    BACK-OFF GT2|54.5|.323 .145 .059||
    BACK-OFF GT3|55.6|.312 .131 .059||
    LBL|20.1|.327 .144 .068||
    MLBL-B|24.7|.373 .187 .098||
    MLBL-F|21.8|.361 .176 .092||
    Gupta et al.||.15 .06 .01||
    Gupta & Mannem||.33 .18 .07||
  """,
  'flickr8k': """
    rnn-base|30.39|.4383 .1849 .1339||
    m-rnn|24.39|.5778 .2751 .2307|14.5 37.2 48.5 11|11.5 31.0 42.4 15
    DeViSE|||4.8 16.5 27.3 28|5.9 20.1 29.6 29
    Socher (decaf)|||4.5 18.0 28.6 32|6.1 18.5 29.0 29
    Socher (avg rcnn)|||6.0 22.7 34.0 23|6.6 21.6 31.7 25
    DeepFE (decaf)|||5.9 19.2 27.3 34|5.2 17.6 26.5 32
    DeepFE (rcnn)|||12.6 32.9 44.0 14|9.7 29.6 42.5 15
    Random|||.1 .5 1.0 631|.1 .5 1.0 500
    merge, VGG fc7||.600 .413 .273 .178||17.3 41.1 54.6 8.5
  """,
  'flickr30k': """
    rnn-base|43.96|.4699 .1964 .1252||
    m-rnn|35.11|.5479 .2392 .1952|18.4 40.2 50.9 10|12.6 31.2 41.5 16
    DeViSE (avg rcnn)|||4.8 16.5 27.3 28|5.9 20.1 29.6 29
    DeepFE (rcnn)|||16.4 40.2 54.7 8|10.3 31.4 44.5 13
    Random|||.1 .6 1.1 631|.1 .5 1.0 500
  """,
}  # fmt: skip


def ranks(row, direction):
  found = row.get('retrieval', {}).get(direction, {})
  return [
    found[name]
    for name in ('r@1', 'r@5', 'r@10', 'median_rank')
    if name in found
  ]


@pytest.mark.parametrize('dataset', PUBLISHED)
def test_published_rows_are_the_protocols(dataset):
  found = {
    row['name'].rpartition(', ')[0]: row for row in rows.published_rows(dataset)
  }
  found = {
    # What is noted of a row stands behind its name.
    name.removesuffix(', quoted by Mao et al').partition(' (PPL')[0]: row
    for name, row in found.items()
  }
  lines = PUBLISHED[dataset].strip().splitlines()
  assert len(found) == len(lines)
  for line in lines:
    name, ppl, bleu, *of = (cell.strip() for cell in line.split('|'))
    row = found[name]
    assert row['published'] is True
    assert row['command'] == ''
    assert row.get('perplexity') == (float(ppl) if ppl else None)
    assert row.get('bleu', []) == [float(x) for x in bleu.split()]
    assert ranks(row, 'image_to_text') == [float(x) for x in of[0].split()]
    assert ranks(row, 'text_to_image') == [float(x) for x in of[1].split()]


def result(ppl, hits=None, captions=True, shift=0.0):
  made = {'convention': {'images': 3, 'sentences': 6, 'ties': 'against'}}
  if captions:
    made |= {
      'perplexity': {'corpus': ppl},
      'bleu': {'cumulative': [0.6, 0.4, 0.3, 0.2]},
      'cider_d': 0.5,
      'rouge_l': 0.4,
      'reference': {'perplexity': {'corpus': ppl}, 'cider_d': 0.4},
      'context': {'perplexity': {'corpus': ppl - 1}, 'context_words': 5},
    }
  if hits is not None:
    summary = {'r@1': hits, 'r@5': 50.0, 'r@10': 60.0, 'median_rank': 4.5}
    curve = {'percent': [0, 100], 'true_items': [0, 1], 'share': [0, 1]}
    made |= {
      'retrieval': {
        'image_to_text': summary,
        'text_to_image': summary,
        'norm_images': {'0': summary},
        'recall_curve': {'image_to_text': curve, 'text_to_image': curve},
      },
      'shortlist': 3,
      'retrieval_shortlist': {
        'image_to_text': summary,
        'recall_curve': {'image_to_text': curve, 'text_to_image': curve},
      },
      'chance': {'image_to_text': {'r@1': 33.3, 'median_rank': 2}},
      'chance_shortlist': {'image_to_text': {'r@1': 33.3, 'median_rank': 2}},
    }
  made['per_image'] = {
    'cider_d': [[0.1 + shift, 1], [0.2 + shift, 1], [0.9 + shift, 1]]
  }
  return made


class MadeRun:
  def __init__(self, key, seed, ranked=False):
    self.system = systems.SYSTEMS[key]
    self.seed, self.ranked = seed, ranked
    self.folder = pathlib.Path('runs') / key / str(seed)

  def commands(self):
    return [f'train --seed={self.seed}', 'evaluate | measure']


@pytest.fixture
def made():
  done = {
    'kn3': [(MadeRun('kn3', 0), result(27.0))],
    'm-rnn': [
      (MadeRun('m-rnn', 0, True), result(16.0, 20.0)),
      (MadeRun('m-rnn', 1), result(17.0)),
      (MadeRun('m-rnn', 2), result(18.0)),
    ],
    'mlbl-f': [(MadeRun('mlbl-f', 0, True), result(20.0, 15.0, shift=0.01))],
    'cca': [(MadeRun('cca', 0, True), result(0, 12.0, captions=False))],
  }
  for key in ('kn3', 'cca'):
    done[key][0][1]['per_image'] = {}
  return rows.table_rows(done, 'flickr8k')


def ours(made):
  return {row['key']: row for row in made if not row['published']}


def test_a_row_is_the_mean_of_its_seeds(made):
  row = ours(made)['m-rnn']
  assert row['perplexity'] == 17
  assert row['std']['perplexity'] == 1  # Of 16, 17, 18; a sample's.
  assert row['seeds'] == [0, 1, 2]
  assert row['ranked_seeds'] == [0]
  # Of the only run that is ranked.
  assert row['retrieval']['image_to_text']['r@1'] == 20
  assert row['context']['perplexity'] == 16
  assert row['command'] == 'train --seed=0 && evaluate | measure'
  assert 'difference' not in row
  assert 'norm_images' not in row['retrieval']


def test_what_a_system_lacks_is_left_out(made):
  row = ours(made)['cca']
  assert 'perplexity' not in row
  assert 'bleu' not in row
  assert row['retrieval']['text_to_image']['r@1'] == 12
  assert 'std' not in row
  assert 'retrieval' not in ours(made)['kn3']


def test_chance_is_a_row_of_ours(made):
  row = ours(made)['random']
  assert row['retrieval']['image_to_text']['r@1'] == 33.3
  assert row['convention'] == {'images': 3, 'sentences': 6, 'ties': 'against'}


def test_differences_are_those_to_the_mrnn(made):
  # Every caption is better by .01, in every resample.
  found = ours(made)['mlbl-f']['difference']['cider_d']
  assert found['difference'] == pytest.approx(0.01)
  assert found['low'] == pytest.approx(0.01)
  assert found['significant'] is True


def test_marks_and_spreads_stand_in_the_cells(made):
  row = ours(made)['mlbl-f']
  row['difference']['cider_d']['significant'] = False
  row['difference']['bleu_4'] = {'significant': True}
  tables = {table.title: table for table in forms.tables(made, 'flickr8k')}
  words = tables['Generated sentences (the form of Table 5)']
  cells = {line[0]: line[1:] for line in words.cells()}
  assert cells['m-RNN (3 seeds)'][0] == '17.00 ± 1.00'
  assert cells['MLBL-F'][4:6] == ['0.200', '0.500°']
  assert cells['rnn-base, Mao et al. 2014'][:3] == ['30.39', '0.438', '0.185']
  assert not any(name.startswith(('CCA', 'Random')) for name in cells)
  ranked = tables['Retrieval (the form of Table 3)']
  cells = {line[0]: line[1:] for line in ranked.cells()}
  assert cells['CCA (tf-idf)'][:4] == ['12.0', '50.0', '60.0', '4.5']
  assert 'Kneser-Ney, 3-grams' not in cells
  short = tables['Retrieval, sentences among those of the 3 nearest images']
  assert not any(row['published'] for row in short.rows)


def test_markdown_says_how_each_row_was_made(made):
  about = {
    'images': 3, 'sentences': 6, 'vocabulary': 9, 'encoder': 'a|b',
    'feature_size': 8, 'shortlist': 3,
  }  # fmt: skip
  text = write.markdown(made, 'flickr8k', about, True)
  assert '  train --seed=0\n  evaluate | measure\n' in text
  assert '![Recall curves of all systems](figure3.png)' in text
  # All lines of a table have as many cells as its head.
  for block in text.split('\n\n'):
    if block.startswith('| '):
      widths = {line.count('|') for line in block.splitlines()}
      assert len(widths) == 1
  page = write.page(made, 'flickr8k', about, {})
  assert 'evaluate | measure' in page
  assert page.count('<table>') == len(forms.tables(made, 'flickr8k'))


def test_statistics_of_images_by_hand():
  gallery = Gallery(
    image_ids=['a', 'b'],
    references=[['A dog runs .', 'The dog .'], ['Two cats .']],
    captions={'a': {'caption': 'a dog'}, 'b': {'caption': 'two cats'}},
    queries=[
      {'query': 'image', 'image_id': 'b', 'rank': 1},
      {'query': 'image', 'image_id': 'a', 'rank': 2},
      {'query': 'sentence', 'image_id': 'a', 'rank': 1},
      {'query': 'sentence', 'image_id': 'a', 'rank': 3},
      {'query': 'sentence', 'image_id': 'b', 'rank': 1},
    ],
  )
  found = per_image.statistics(gallery)
  assert found['image_to_text_r@1'] == [[0, 1], [1, 1]]
  assert found['text_to_image_r@1'] == [[1, 2], [1, 1]]
  # Words, nearest length, matches and n-grams of 1 to 4.
  assert found['bleu_4'] == [
    [2, 2, 2, 2, 1, 1, 0, 0, 0, 0],
    [2, 2, 2, 2, 1, 1, 0, 0, 0, 0],
  ]
  assert np.asarray(found['cider_d']).shape == (2, 2)
  assert per_image.statistics(
    Gallery(['a'], [['A dog .']], {}, [])
  ) == {}  # fmt: skip
  recall = bootstrap.percentage(np.sum(found['text_to_image_r@1'], axis=0))
  assert recall == pytest.approx(200 / 3)

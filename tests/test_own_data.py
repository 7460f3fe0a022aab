import json

import numpy as np
import pytest

from mrnn_jax import own_data, tasks
from mrnn_jax.config import Given
from mrnn_jax.data.feature_files import Encoder
from mrnn_jax.encoders.encode import Encoded
from mrnn_jax.ranking.ranker import Ranker
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.trained import TrainedModel

D = 6
IDS = ['red.jpg', 'green.jpg', 'blue.jpg']


@pytest.fixture(scope='module')
def folder(tmp_path_factory, write_toy_model):
  """A model file, features of its kind, and sentences."""
  folder = tmp_path_factory.mktemp('own data')
  write_toy_model(folder / 'model.npz', ['a', 'dog', 'runs', 'two'], D)
  rng = np.random.default_rng(0)
  features = rng.normal(size=(3, D)).astype(np.float32)
  for name, encoder in (('features', 'toynet'), ('others', 'alexnet')):
    np.savez(
      folder / f'{name}.npz',
      ids=np.asarray(IDS),
      features=features,
      encoder=encoder,
      weights='abc',
    )
  (folder / 'sentences.txt').write_text('A dog runs.\n\nTwo dogs\n')
  return folder


def run(folder, **changes):
  features = str(folder / changes.pop('file', 'features.npz'))
  model_file = str(folder / 'model.npz')
  tasks.run(Given({'model_file': model_file, 'features': features, **changes}))


def read_lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_captions_as_a_table(folder, capsys):
  run(folder, task='caption', max_words=4)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].split() == ['log', 'P', 'PPL', 'caption']
  assert [line.split()[0] for line in lines[1:]] == IDS


def test_captions_as_json_lines(folder, tmp_path, capsys):
  run(folder, task='caption', nbest=2, output='-')
  lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert [line['image_id'] for line in lines] == IDS
  assert lines[0]['nbest'][0]['caption'] == lines[0]['caption']
  assert len(lines[0]['nbest']) == 2
  run(folder, task='caption', nbest=2, output=str(tmp_path / 'new/c.jsonl'))
  assert read_lines(tmp_path / 'new/c.jsonl') == lines


def test_rankings_both_ways(folder, tmp_path, capsys):
  path = tmp_path / 'r.jsonl'
  flags = {
    'task': 'rank',
    'sentences': str(folder / 'sentences.txt'),
    'top': 2,
  }
  run(folder, **flags, output=str(path))
  lines = read_lines(path)
  assert [line['query'] for line in lines] == ['image'] * 3 + ['sentence'] * 2
  assert [x.get('image_id') for x in lines[:3]] == IDS
  assert [x['caption'] for x in lines[3:]] == ['A dog runs.', 'Two dogs']
  for line in lines:
    scores = [item['score'] for item in line['top']]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
  capsys.readouterr()
  run(folder, **flags)
  out = capsys.readouterr().out
  assert 'by log P(w|I)/P(w)' in out
  assert out.count('Two dogs') == 4


def test_words_that_the_model_does_not_know_are_told(folder, capsys):
  run(folder, task='rank', sentences=str(folder / 'sentences.txt'))
  said = capsys.readouterr().err
  assert 'does not know 1 of the 5 words in' in said
  assert 'sentences.txt (dogs): they count' in said


def test_every_command_ends_with_how_many_photos(folder, monkeypatch, capsys):
  photos = Encoded(
    ['a.jpg', 'b.jpg'],
    np.ones((2, D), np.float32),
    [('c.heic', 'no HEIC'), ('d.jpg', 'empty'), ('e.heic', 'no HEIC')],
    Encoder(),
  )
  monkeypatch.setattr(TrainedModel, 'encode_all', lambda *unused: photos)
  given = {'model_file': str(folder / 'model.npz'), 'photos': 'x'}
  tasks.run(Given({**given, 'task': 'caption', 'output': '-'}))
  out, said = capsys.readouterr()
  assert len(out.splitlines()) == 2
  assert said.splitlines()[-1] == (
    '2 of 5 photos captioned; not: c.heic, e.heic (no HEIC); d.jpg (empty)'
  )
  sentences = str(folder / 'sentences.txt')
  tasks.run(Given({**given, 'task': 'rank', 'sentences': sentences}))
  assert '2 of 5 photos ranked; not: ' in capsys.readouterr().err


def test_rankings_are_tiled_as_the_flags_say(folder, monkeypatch):
  tilings = []

  def blocks(ranker, *args, **kwargs):
    tilings.append((ranker.tiling, ranker.arithmetic))
    return unpatched(ranker, *args, **kwargs)

  unpatched = Ranker.blocks
  monkeypatch.setattr(Ranker, 'blocks', blocks)
  run(
    folder,
    task='rank',
    sentences=str(folder / 'sentences.txt'),
    rank_image_block=2,
    rank_tile_rows=6,
    rank_dtype='bfloat16',
  )
  assert set(tilings) == {('2 x 6', 'bfloat16')}


def test_features_of_no_known_encoder(folder, tmp_path):
  """Whoever knows what made them can say so; where the file says, it holds."""
  plain = np.load(folder / 'features.npz')
  np.savez(folder / 'plain.npz', ids=plain['ids'], features=plain['features'])
  with pytest.raises(InputError, match='--encoder="toynet"'):
    run(folder, task='caption', file='plain.npz')
  path = tmp_path / 'c.jsonl'
  run(
    folder, task='caption', file='plain.npz', encoder='toynet', output=str(path)
  )
  expected = tmp_path / 'expected.jsonl'
  run(folder, task='caption', output=str(expected))
  assert read_lines(path) == read_lines(expected)
  run(
    folder,
    task='rank',
    file='plain.npz',
    encoder='toynet',
    sentences=str(folder / 'sentences.txt'),
  )
  with pytest.raises(InputError, match='made by "toynet": leave --encoder out'):
    run(folder, task='caption', encoder='alexnet')
  with pytest.raises(InputError, match='features of "toynet".*has "alexnet"'):
    run(folder, task='caption', file='plain.npz', encoder='alexnet')


def test_captions_as_a_page(folder, tmp_path, capsys):
  run(folder, task='caption', output=str(tmp_path / 'p.html'))
  assert 'wrote' in capsys.readouterr().out
  assert '"id":"green.jpg"' in (tmp_path / 'p.html').read_text()


def test_a_table_with_confidence():
  line = {'image_id': 'x', 'caption': 'a dog', 'log_prob': -6.0}
  line |= {'perplexity': 3.0, 'cut': False}
  sure = {**line, 'confidence': 0.625, 'unfamiliar': False}
  unsure = {**line, 'image_id': 'y', 'confidence': 0.05, 'unfamiliar': True}
  assert [*own_data._caption_table([sure, unsure])] == [
    '    log P    PPL  sure  caption',
    'x   -6.00   3.00   62%  a dog',
    'y   -6.00   3.00    5%? a dog',
  ]
  assert [*own_data._caption_table([line])][1] == 'x   -6.00   3.00  a dog'


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'file': 'others.npz'}, 'features of "toynet".*has "alexnet"'),
    ({'task': 'rank'}, 'rank wants --sentences=FILE, a'),
    ({'photos': 'x'}, 'not both'),
    ({'task': 'rank', 'sentences': 'no file'}, 'there is no no file'),
  ],
)
def test_mistakes_in_one_sentence(folder, changes, message):
  with pytest.raises(InputError, match=message):
    run(folder, **{'task': 'caption', **changes})


@pytest.mark.parametrize(
  ('text', 'message'), [('', 'no sentence'), ('a dog\n!\n', 'line 2')]
)
def test_bad_sentence_files(folder, tmp_path, text, message):
  path = tmp_path / 's.txt'
  path.write_text(text)
  with pytest.raises(InputError, match=message):
    run(folder, task='rank', sentences=str(path))


def test_the_model_cannot_encode_photos_of_an_unknown_encoder(folder, tmp_path):
  given = Given(
    {
      'task': 'caption',
      'model_file': str(folder / 'model.npz'),
      'photos': str(tmp_path),
    }
  )
  with pytest.raises(InputError, match='toynet.*give them by --features'):
    tasks.run(given)

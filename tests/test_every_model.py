"""Models beside the paper's go the whole way without a line of their own."""

import json

import jax
import numpy as np
import pytest
import small_models
import tiny_run

import mrnn_jax
from mrnn_jax import models, tasks
from mrnn_jax.config import Given
from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.runtime.errors import InputError

KINDS = {
  'm-rnn': {'cell': 'lstm', 'tie_softmax': True},
  'elman': {},
  'mlbl-f': {'vector_size': 12, 'factor_size': 16},
  'ngram': {'ngram_smoothing': 'katz'},
}


def run(workdir, data_dir, model, **changes):
  given = {
    **tiny_run.OPTIONS,
    'num_epochs': 8.0,
    'learning_rate': 0.05,
    'recurrent_size': 12,
    'word_dropout': 0.0,
    'recurrent_dropout': 0.0,
    'model': model,
    'workdir': str(workdir),
    'data_dir': str(data_dir),
    **changes,
  }
  own = models.options_of(model)
  sizes = set(models.options()) - own
  tasks.run(Given({k: v for k, v in given.items() if k not in sizes}))


# What is quick is fitted at one go; a trained one is that of other files.
@pytest.fixture(
  scope='module',
  params=[
    pytest.param(name, marks=[] if name == 'ngram' else pytest.mark.slow)
    for name in KINDS
  ],
)
def trained(request, tiny_data_dir, tmp_path_factory):
  workdir = tmp_path_factory.mktemp(request.param)
  options = KINDS[request.param]
  run(workdir, tiny_data_dir, request.param, **options)
  return request.param, workdir


def test_it_learns_and_is_measured(trained, tiny_data_dir):
  model, workdir = trained
  run(workdir, tiny_data_dir, model, task='evaluate')
  result = json.loads((workdir / 'evaluation.json').read_text())
  assert result['model'] == model
  # 22 words and ##END##, most of them alike: chance is above 15.
  assert 2 < result['perplexity']['corpus'] < 12
  seen = models.MODELS[model].sees_images
  assert (result['retrieval'] is not None) == seen
  assert (workdir / 'retrieval.jsonl').exists() == seen
  lines = (workdir / 'captions.jsonl').read_text().splitlines()
  assert len(lines) == 12
  assert len({json.loads(x)['caption'] for x in lines}) > 1 or not seen


def test_scores_and_exported_scores_are_those_of_the_whole_model(
  trained, tiny_data_dir, tmp_path
):
  model, workdir = trained
  sentences = ['A dog runs in the park .', 'One cat that sleeps near grass .']
  (tmp_path / 'pairs.jsonl').write_text(
    ''.join(
      json.dumps({'image_id': f'test_{i:04d}.jpg', 'sentence': sentence}) + '\n'
      for i, sentence in enumerate(sentences)
    )
  )
  run(
    workdir,
    tiny_data_dir,
    model,
    task='score',
    score_input=str(tmp_path / 'pairs.jsonl'),
    output=str(tmp_path / 'scores'),
  )
  (path,) = (tmp_path / 'scores').glob('scores-*.jsonl')
  scored = [json.loads(x)['log_prob'] for x in path.read_text().splitlines()]
  file = tmp_path / 'model.npz'
  run(workdir, tiny_data_dir, model, task='export', output=str(file))
  whole = mrnn_jax.load(str(workdir))
  half = mrnn_jax.load(str(file))
  archive = np.load(tiny_data_dir / 'f.npz')
  for i, sentence in enumerate(sentences):
    row = archive['ids'].tolist().index(f'test_{i:04d}.jpg')
    tokens = whole.encode(sentence)
    length, expected = len(tokens) - 1, []
    # Padded behind: what comes later changes nothing before.
    given = np.full((1, 10), PAD)
    given[0, :length] = tokens[:-1]
    for used in (whole, half):
      logits = small_models.apply(
        used.model,
        used.variables,
        given,
        archive['features'][row][None, None],
      )
      log_probs = np.asarray(jax.nn.log_softmax(logits))[0, :length]
      expected.append(log_probs[np.arange(length), tokens[1:]].sum())
    np.testing.assert_allclose(scored[i], expected[0], rtol=1e-4)
    np.testing.assert_allclose(expected[1], expected[0], rtol=1e-2)


def test_what_sees_no_image_says_that_it_cannot_rank(trained, tiny_data_dir):
  model, workdir = trained
  if not models.MODELS[model].sees_images:
    with pytest.raises(InputError, match='does not see the image'):
      run(workdir, tiny_data_dir, model, task='retrieve')


def test_another_cell_is_another_model(trained, tiny_data_dir):
  model, workdir = trained
  if model == 'm-rnn':
    with pytest.raises(InputError, match=r'--cell=gru \(there: lstm\)'):
      run(workdir, tiny_data_dir, model, task='evaluate', cell='gru')

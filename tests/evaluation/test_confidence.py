"""How sure captions are, and their order by P(w|I) / P(w)^a."""

import dataclasses
import json
import math

import numpy as np
import pytest
import small_models
import tiny_run

import mrnn_jax
from mrnn_jax import metrics, stored_calibration, tasks
from mrnn_jax.config import Config, Given
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import captions, confidence, reranking
from mrnn_jax.runtime.errors import InputError


@pytest.fixture(scope='module')
def workdir(tiny_data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('confidence')
  config = tiny_run.config(
    folder,
    tiny_data_dir,
    recurrent_size=12,
    num_epochs=10.0,
    learning_rate=0.05,
    word_dropout=0.0,
    recurrent_dropout=0.0,
    max_words=12,
  )
  tasks.run(tiny_run.given(config))
  tasks.run(
    Given(
      {'task': 'calibrate', 'workdir': str(folder), 'confidence_cider': 1.0}
    )
  )
  return folder


@pytest.fixture(scope='module')
def model(workdir):
  return mrnn_jax.load(workdir)


@pytest.fixture(scope='module')
def features(tiny_data_dir):
  return np.load(tiny_data_dir / 'f.npz')['features'][-12:]


def lines(workdir, task='caption', **options):
  tasks.run(Given({'task': task, 'workdir': str(workdir), **options}))
  text = (workdir / 'captions.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_evidence_by_the_models_own_scores(model, features):
  config = model.config.replace(task='caption')
  ids = [str(i) for i in range(12)]
  found = captions.hypotheses(model, ids, features, config)
  distances = confidence.distance(model, features, 40)
  evidence = confidence.gather(model, distances, found)
  for i in (0, 7):
    texts = [h['caption'] for h in found[i]]
    ends = [not h['cut'] for h in found[i]]
    assert all(ends)
    log_prob = model.log_prob(features[i : i + 1], texts)[0]
    others = model.log_prob(model.norm_features[:30], texts).astype(np.float64)
    log_mean = np.log(np.exp(others).mean(0))
    lengths = [len(text.split()) + 1 for text in texts]
    np.testing.assert_allclose(evidence[i][:, 0], log_prob / lengths, rtol=1e-4)
    np.testing.assert_allclose(
      evidence[i][:, 1], log_prob - log_mean, rtol=1e-3, atol=1e-3
    )
    share = np.exp(log_prob) / np.exp(log_prob).sum()
    np.testing.assert_allclose(evidence[i][:, 2], share, rtol=1e-3)
    np.testing.assert_allclose(evidence[i][:, 3], distances[i])


def test_a_cut_caption_is_compared_without_its_end(model):
  """Its probability has no ##END##, so its mean has none."""
  whole, cut = (
    {'caption': 'a dog runs', 'cut': cut, 'log_prob': 0.0}
    for cut in (False, True)
  )
  ((with_end, without),) = reranking.log_means(model, [[whole, cut]])
  logits = small_models.apply(
    model.model,
    model.variables,
    np.asarray([model.encode('a dog runs')[:-1]] * 30),
    model.norm_features[:30, None],
  )
  log_probs = np.asarray(logits, np.float64)
  log_probs -= np.logaddexp.reduce(log_probs, axis=-1, keepdims=True)
  targets = model.encode('a dog runs')[1:]
  steps = log_probs[:, np.arange(4), targets]
  for found, count in ((with_end, 4), (without, 3)):
    expected = np.log(np.exp(steps[:, :count].sum(1)).mean())
    assert found == pytest.approx(expected, rel=1e-4)


def test_distance_by_plain_numpy(model, features):
  statistics = model.variables['statistics']

  def unit(x):
    z = np.clip((x - statistics['mean']) / statistics['std'], -5, 5)
    return z / np.linalg.norm(z, axis=1, keepdims=True)

  cosines = unit(features) @ unit(model.norm_features[:20]).T
  expected = 1 - np.sort(cosines, axis=1)[:, -10:].mean(1)
  found = confidence.distance(model, features, 20)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_captions_say_how_sure_they_are(workdir, model, capsys):
  found = lines(workdir, nbest=3)
  stored = model.calibration
  mean, scale, weights = (
    np.asarray(stored[x]) for x in ('mean', 'scale', 'weights')
  )
  line = found[3]
  assert line['confidence'] == line['nbest'][0]['confidence']
  log_prob = np.asarray([h['log_prob'] for h in line['nbest']])
  per_word = -np.log([h['perplexity'] for h in line['nbest']])
  means = reranking.log_means(model, [line['nbest']])[0]
  share = np.exp(log_prob) / np.exp(log_prob).sum()
  x = np.stack([per_word, log_prob - means, share], 1)
  z = ((x - mean[:3]) / scale[:3]) @ weights[:3] + stored['bias']
  z += (line['distance'] - mean[3]) / scale[3] * weights[3]
  np.testing.assert_allclose(
    [h['confidence'] for h in line['nbest']], 1 / (1 + np.exp(-z)), rtol=1e-4
  )
  assert line['unfamiliar'] == (line['distance'] > stored['unfamiliar'])
  # Searched otherwise, nobody knows.
  for options in ({'beam_size': 2}, {'prefix': 'a'}, {'rerank': 'pmi'}):
    assert 'confidence' not in lines(workdir, **options)[0]
    assert 'no confidence is given' in capsys.readouterr().err


def test_evaluation_measures_it(workdir):
  written = lines(workdir, task='evaluate', retrieval=False)
  evaluation = json.loads((workdir / 'evaluation.json').read_text())
  dataset = evaluation['confidence']
  assert dataset['threshold'] == 1.0
  chances = [line['confidence'] for line in written]
  assert dataset['mean'] == pytest.approx(np.mean(chances))
  assert dataset['unfamiliar'] == np.mean([x['unfamiliar'] for x in written])


def test_similarity_is_that_of_evaluation(model, tiny_data_dir):
  dataset = datasets.open_dataset('tiny', str(tiny_data_dir))
  split = datasets.load_split(dataset, 'test', model.vocabulary)
  found = [[{'caption': 'a dog runs'}, {'caption': 'the cat sits'}]] * 12
  both = np.stack(confidence.similarity(split, found))
  references = [
    [x.lower().replace(' .', '') for x in y] for y in split.captions
  ]
  for k, text in enumerate(('a dog runs', 'the cat sits')):
    expected = metrics.cider_d([text] * 12, references)
    np.testing.assert_allclose(both[:, k], expected)


def test_it_travels_with_the_model(workdir, tmp_path, capsys):
  file = tmp_path / 'm.npz'
  run = {'task': 'export', 'workdir': str(workdir), 'output': str(file)}
  tasks.run(Given(run))
  stored = mrnn_jax.load(workdir).calibration
  expected = {n: x for n, x in stored.items() if n != 'model'}
  assert mrnn_jax.load(file).calibration == expected
  # A model of fewer training images has other distances.
  tasks.run(Given({**run, 'norm_images': 4}))
  assert 'calibration of the confidence is left out' in capsys.readouterr().err
  assert mrnn_jax.load(file).calibration is None


def test_a_file_is_written_again_with_it(workdir, tmp_path):
  """Its parameters stay as they are, to the bit."""
  file = tmp_path / 'm.npz'
  plain = dataclasses.replace(mrnn_jax.load(workdir), calibration=None)
  plain.save(file)
  values = {'task': 'calibrate', 'model_file': str(file), 'dataset': 'tiny'}
  values |= {'data_dir': plain.config.data_dir, 'confidence_cider': 1.0}
  with pytest.raises(InputError, match='--output=FILE.npz'):
    tasks.run(Given(values))
  before, identity = dict(np.load(file)), mrnn_jax.load(file).identity()
  tasks.run(Given({**values, 'output': str(file)}))
  after = dict(np.load(file))
  assert before.keys() == after.keys()
  for name in before.keys() - {'description'}:
    np.testing.assert_array_equal(before[name], after[name])
  assert mrnn_jax.load(file).calibration['threshold'] == 1.0
  assert mrnn_jax.load(file).identity() == identity


def test_it_is_of_one_model_alone(workdir, tmp_path, capsys):
  path = workdir / stored_calibration.FILE
  text = path.read_text()
  try:
    path.write_text(json.dumps({**json.loads(text), 'model': 'another'}))
    assert mrnn_jax.load(workdir).calibration is None
    assert 'is of another model' in capsys.readouterr().err
    for changes, message in (
      ({'weights': [1.0]}, 'differ in length'),
      ({'evidence': ['age'] * 4}, 'evidence that this program does not know'),
      ({'bias': '1'}, 'as "bias"'),
      ({'scale': [0.0] * 4}, 'scale that is not above 0'),
      ({'search': {'magic': 1}}, 'does not know'),
      ({'norm_images': 0}, 'without training images'),
    ):
      path.write_text(json.dumps(json.loads(text) | changes))
      with pytest.raises(InputError, match=message):
        mrnn_jax.load(workdir)
  finally:
    path.write_text(text)


def test_nothing_to_tell_apart(workdir):
  with pytest.raises(InputError, match='--confidence_cider=10'):
    tasks.run(
      Given(
        {
          'task': 'calibrate',
          'workdir': str(workdir),
          'confidence_cider': 10.0,
        }
      )
    )


def test_order_by_pmi(workdir, model):
  plain = lines(workdir, nbest=3)
  ordered = lines(workdir, nbest=3, rerank='pmi', rerank_exponent=0.8)
  changed = 0
  for before, after in zip(plain, ordered, strict=True):
    means = reranking.log_means(model, [before['nbest']])[0]
    scores = {
      h['caption']: h['log_prob'] - 0.8 * x
      for h, x in zip(before['nbest'], means, strict=True)
    }
    expected = sorted(scores, key=scores.get, reverse=True)
    assert [h['caption'] for h in after['nbest']] == expected
    assert after['pmi'] == pytest.approx(scores[expected[0]], rel=1e-4)
    changed += expected[0] != before['caption']
  assert changed
  same = lines(workdir, nbest=3, rerank='pmi', rerank_exponent=0.0)
  assert [x['caption'] for x in same] == [x['caption'] for x in plain]


def test_order_by_consensus_and_pmi():
  """Likeness to captions and w log P(w|I)/P(w)^a are added, by hand."""

  class Likeness:
    def neighbors(self, features):
      return np.zeros((len(features), 1), int)

    def scores(self, neighbors, captions):
      return [{'a': 0.30, 'b': 0.25, 'c': 0.10}[x] for x in captions]

  said = {'a': -9, 'b': -2, 'c': 4}
  found = [[{'caption': x, 'pmi': y} for x, y in said.items()]]
  for weight, expected in ((0, 'abc'), (0.01, 'bac'), (0.05, 'cba')):
    (ordered,) = reranking.by_consensus(
      Likeness(), np.zeros((1, 2)), found, weight
    )
    assert ''.join(h['caption'] for h in ordered) == expected
    assert ordered[expected.index('b')]['consensus'] == 0.25


def test_both_orders_from_the_command_line(workdir):
  """captions.jsonl is in the order of the sum of what it says itself."""
  options = {'rerank': 'pmi', 'rerank_neighbors': 3, 'rerank_weight': 0.2}
  changed = 0
  for line in lines(workdir, nbest=3, **options):
    sums = [h['consensus'] + 0.2 * h['pmi'] for h in line['nbest']]
    assert sums == sorted(sums, reverse=True)
    changed += line['consensus'] < max(h['consensus'] for h in line['nbest'])
  assert changed


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'beam_size': 1}, 'among hypotheses of a beam'),
    ({'length_protocol': 'reference'}, 'end_sign only'),
  ],
)
def test_what_does_not_go_together(options, message):
  with pytest.raises(InputError, match=message):
    Config(rerank='pmi', **options)


def test_measures_of_chances():
  found = confidence.measure([0.2, 0.6, 0.4], [False, True, True])
  assert found['auc'] == 1.0
  assert found['brier'] == pytest.approx((0.04 + 0.16 + 0.36) / 3)
  assert (found['mean'], found['above']) == (pytest.approx(0.4), 2 / 3)
  assert confidence.measure([0.2], [True])['auc'] is None
  assert math.isclose(confidence.measure([0.2], [True])['brier'], 0.64)

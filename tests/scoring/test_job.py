import gzip
import json
import math
import time

import jax
import numpy as np
import pytest
from scoring_jobs import IDS, names, read, run, write

from data_prep import build
from mrnn_jax import models
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import job as scoring_job
from mrnn_jax.scoring.pair_scorer import PairScorer
from mrnn_jax.trained import TrainedModel


@pytest.fixture(scope='module')
def scored(folder, tmp_path_factory):
  """What one shard gives with everything asked for."""
  output = tmp_path_factory.mktemp('output') / 'new'
  run(folder, output, score_normalized=True, word_log_probs=True)
  return output


def test_results_are_those_of_the_model(folder, scored):
  assert names(scored) == [
    'done-00000-of-00001.json',
    'scores-00000-of-00001.jsonl',
  ]
  before = read(folder / 'r.jsonl')
  after = read(scored / 'scores-00000-of-00001.jsonl')
  model = TrainedModel.load(folder / 'model.npz', jax.local_devices()[:1])
  features = np.load(folder / 'features.npz')['features']
  texts, images, results = [], [], []
  for old, new in zip(before, after, strict=True):
    added = {x: new.pop(x) for x in list(new) if x not in old}
    assert new == old
    listed = 'sentences' in old
    assert all(isinstance(x, list) for x in added.values()) or not listed
    for i, text in enumerate(old['sentences'] if listed else [old['sentence']]):
      texts.append(text)
      images.append(IDS.index(old['image_id']))
      results.append({k: v[i] if listed else v for k, v in added.items()})
  matrix = model.log_prob(np.nan_to_num(features), texts)
  drawn = model.log_prob(model.norm_features, texts)
  for s, (text, result) in enumerate(zip(texts, results, strict=True)):
    assert list(result) == [
      'log_prob',
      'perplexity',
      'words',
      'oov',
      'score_normalized',
      'word_log_probs',
    ]
    words = text.rstrip('.').split()
    expected = matrix[images[s], s]
    assert result['log_prob'] == pytest.approx(expected, abs=1e-4)
    assert result['words'] == len(words) + 1
    assert result['oov'] == words.count('zebra')
    assert result['perplexity'] == pytest.approx(
      math.exp(-expected / result['words']), rel=1e-4
    )
    assert len(result['word_log_probs']) == result['words']
    assert sum(result['word_log_probs']) == pytest.approx(expected, abs=1e-4)
    log_mean = np.logaddexp.reduce(drawn[:, s].astype(float)) - math.log(4)
    assert result['score_normalized'] == pytest.approx(
      expected - log_mean, abs=2e-4
    )


def test_all_of_a_job_is_of_one_type(folder, scored, tmp_path, monkeypatch):
  """log P(w|I) and log P(w), and what the shards say of themselves."""

  def job_of(output):
    return json.loads((output / 'done-00000-of-00001.json').read_text())['job']

  assert job_of(scored)['options']['dtype'] == 'float32'
  monkeypatch.setattr(ranker_lib, 'operand_dtype', lambda dtype, devices: dtype)
  asked = []
  original = models.MRNN.clone

  def clone(self, **changes):
    asked.extend(x for name, x in changes.items() if name == 'dtype')
    return original(self, **changes)

  monkeypatch.setattr(models.MRNN, 'clone', clone)
  for dtype in ('auto', 'bfloat16'):
    asked.clear()
    output = tmp_path / dtype
    run(folder, output, score_normalized=True, rank_dtype=dtype)
    resolved = {'auto': 'float32'}.get(dtype, dtype)
    assert asked == [resolved] * 2
    assert job_of(output)['options']['dtype'] == resolved
  # Rounded, hence not the same, but near.
  exact, rounded = (
    [x['score_normalized'] for x in read(x / 'scores-00000-of-00001.jsonl')]
    for x in (tmp_path / 'auto', tmp_path / 'bfloat16')
  )
  exact, rounded = (
    np.asarray([x for x in values if isinstance(x, float)])
    for values in (exact, rounded)
  )
  assert 0 < np.abs(exact - rounded).max() < 0.05
  # A shard of another type is none of this job.
  with pytest.raises(InputError, match='a job with other options'):
    run(folder, tmp_path / 'auto', score_normalized=True, rank_dtype='bfloat16')


def test_shards_together_are_one_shard(folder, scored, tmp_path, capsys):
  expected = (scored / 'scores-00000-of-00001.jsonl').read_text().splitlines()
  for index in (2, 0, 1):
    run(
      folder,
      tmp_path,
      shard=f'{index}/3',
      score_normalized=True,
      word_log_probs=True,
      num_devices=[1, 2, 4][index],
    )
  assert '3 of 3 shards are complete' in capsys.readouterr().out
  shards = [
    (tmp_path / f'scores-0000{i}-of-00003.jsonl').read_text().splitlines()
    for i in range(3)
  ]
  dealt = [[] for _ in range(3)]
  for block in range(0, 60, 7):
    dealt[block // 7 % 3] += expected[block : block + 7]
  assert shards == dealt


def test_a_killed_job_gives_the_same_bytes(
  folder, scored, tmp_path, monkeypatch, capsys
):
  options = {'score_normalized': True, 'word_log_probs': True}
  inner = PairScorer.word_log_probs
  calls = []

  def stop(*args):
    calls.append(1)
    if len(calls) == 4:
      raise KeyboardInterrupt
    return inner(*args)

  with monkeypatch.context() as patch:
    patch.setattr(PairScorer, 'word_log_probs', stop)
    with pytest.raises(KeyboardInterrupt):
      run(folder, tmp_path, **options)
  assert all(name.startswith('.blocks-') for name in names(tmp_path))
  run(folder, tmp_path, **options)
  for path in scored.iterdir():
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
  # And what is done is not done again.
  monkeypatch.setattr(PairScorer, 'word_log_probs', None)
  capsys.readouterr()
  run(folder, tmp_path, **options)
  assert 'is complete: not computed again' in capsys.readouterr().out
  with pytest.raises(InputError, match='a job with other options: give anoth'):
    run(folder, tmp_path)


def test_bad_records(folder, tmp_path):
  lines = (folder / 'r.jsonl').read_text().splitlines()
  bad = {
    2: ('{', 'no JSON'),
    9: ('{"image_id": "9.jpg", "sentence": "A dog."}', "names '9.jpg', which"),
    10: ('{"image_id": "4.jpg", "sentence": "A dog."}', 'is not finite'),
    30: ('{"image_id": "0.jpg", "sentences": ["A.", "!"]}', "has '!', which"),
    31: (
      '{"image_id": "0.jpg", "sentence": "' + 'a ' * 1001 + '"}',
      'more than 1,000 words',
    ),
  }
  for number, (line, _) in bad.items():
    lines[number - 1] = line
  path = tmp_path / 'bad.jsonl'
  path.write_text('\n'.join(lines))
  output = tmp_path / 'output'
  with pytest.raises(InputError) as caught:
    run(folder, output, score_input=str(path), max_bad_records=4)
  for text in ('--max_bad_records=4', f'{path}, line 2 is no JSON', 'line 10'):
    assert text in str(caught.value)
  assert '\n' not in str(caught.value)
  assert all(name.startswith('.blocks-') for name in names(output))
  run(folder, output, score_input=str(path), max_bad_records=5)
  rejects = read(output / 'rejects-00000-of-00001.jsonl')
  assert [x['line'] for x in rejects] == list(bad)
  for line, reject in zip(bad.values(), rejects, strict=True):
    assert reject['file'] == str(path)
    assert line[1] in reject['reason']
  left = [i for i in range(60) if i + 1 not in bad]
  after = read(output / 'scores-00000-of-00001.jsonl')
  assert [x['n'] for x in after] == left
  state = json.loads((output / 'done-00000-of-00001.json').read_text())
  assert (state['records'], state['bad']) == (55, 5)


def test_every_format_gives_the_same(folder, tmp_path):
  pa = pytest.importorskip('pyarrow')
  import pyarrow.parquet as pq

  records = [x for x in read(folder / 'r.jsonl') if 'sentence' in x]
  write(tmp_path / 'r.jsonl', records)
  with gzip.open(tmp_path / 'r.jsonl.gz', 'wt') as file:
    file.write((tmp_path / 'r.jsonl').read_text())
  rows = [
    'n,image_id,sentence',
    *(','.join(map(str, x.values())) for x in records),
  ]
  (tmp_path / 'r.csv').write_text('\n'.join(rows))
  pq.write_table(pa.Table.from_pylist(records), tmp_path / 'r.parquet')
  found = {}
  for suffix in ('jsonl', 'jsonl.gz', 'csv', 'parquet'):
    output = tmp_path / suffix
    run(folder, output, score_input=str(tmp_path / f'r.{suffix}'))
    found[suffix] = output / f'scores-00000-of-00001.{suffix}'
  expected = read(found['jsonl'])
  assert [x['n'] for x in expected] == [x['n'] for x in records]
  assert read(found['jsonl.gz']) == expected
  assert pq.read_table(found['parquet']).to_pylist() == expected
  table = found['csv'].read_text().splitlines()
  assert table[0] == 'n,image_id,sentence,log_prob,perplexity,words,oov'
  assert table[1:] == [','.join(map(str, x.values())) for x in expected]


def test_images_of_all_splits_of_a_dataset(folder, scored, tmp_path):
  raw = tmp_path / 'raw'
  raw.mkdir()
  (raw / 'c.csv').write_text(
    'image_id,caption,split\n'
    '0.jpg,A dog.,train\n1.jpg,A dog.,train\n'
    '2.jpg,A dog.,validation\n3.jpg,A dog.,test\n'
  )
  build.build(
    build.BuildConfig(
      dataset='custom',
      captions=str(raw / 'c.csv'),
      features=str(folder / 'features.npz'),
      data_dir=str(tmp_path / 'data'),
    )
  )
  output = tmp_path / 'output'
  run(
    folder,
    output,
    features='',
    data_dir=str(tmp_path / 'data'),
    score_normalized=True,
    word_log_probs=True,
  )
  name = 'scores-00000-of-00001.jsonl'
  assert (output / name).read_bytes() == (scored / name).read_bytes()


def test_a_shard_may_have_nothing(folder, tmp_path):
  run(folder, tmp_path, shard='3/4', score_block=100)
  assert (tmp_path / 'scores-00003-of-00004.jsonl').read_bytes() == b''
  assert (tmp_path / 'done-00003-of-00004.json').exists()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'score_input': ''}, 'score wants --score_input=FILES[.]'),
    ({'output': ''}, 'score wants --output=FOLDER[.]'),
    ({'score_input': 'no/*.jsonl'}, 'there is no no/.*jsonl'),
    ({'shard': '1/1'}, 'no shard 1 of 1'),
    ({'score_normalized': True, 'norm_images': 0}, 'estimates P.w. from'),
    ({'features': '', 'data_dir': 'no folder'}, 'there is no dataset'),
  ],
)
def test_mistakes_in_one_sentence(folder, tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    run(folder, **{'output': tmp_path / 'new', **changes})
  assert not (tmp_path / 'new').exists()


def test_one_item_is_made_ahead():
  made = []

  def items():
    for i in range(4):
      made.append(i)
      yield i

  seen = []
  for item in scoring_job.ahead(items()):
    deadline = time.monotonic() + 5
    while len(made) < min(4, item + 2) and time.monotonic() < deadline:
      time.sleep(0.001)
    seen.append((item, len(made)))
  assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]

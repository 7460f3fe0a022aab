"""The whole job: on made-up records, and on drawn scenes from their pixels."""

import json
import math

import numpy as np
import pytest
import tiny_run

from data_prep import build
from mrnn_jax import tasks
from mrnn_jax.config import Given
from mrnn_jax.reports import tables
from mrnn_jax.runtime import checkpoint
from mrnn_jax.runtime.errors import InputError

OPTIONS = {
  **tiny_run.OPTIONS,
  'dataset': 'custom',
  'embedding_size': 8,
  'recurrent_size': 12,
  'multimodal_size': 16,
  'learning_rate': 0.1,
  'norm_images': 10,
  'rank_image_block': 8,
  'rank_tile_rows': 64,
}
RANKS = ('r@1', 'r@5', 'r@10', 'median_rank', 'mean_rank')
# What no evaluation may lack: here all that is in a group, or some of it.
FIELDS = {
  '': ('dataset', 'split', 'model', 'step'),
  'convention': (
    'min_word_count',
    'target_end',
    'references',
    'beam_size',
    'length_penalty',
    'norm_images',
  ),
  'perplexity': ('corpus', 'geometric_mean', 'without_end', 'oov_rate'),
  'bleu': ('cumulative', 'precisions', 'brevity_penalty'),
  'captions': ('distinct', 'copied_from_training', 'mean_words'),
  'retrieval.image_to_text': RANKS,
  'retrieval.image_to_text_perplexity': RANKS,
  'retrieval.text_to_image': RANKS,
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory, record_maker):
  folder = tmp_path_factory.mktemp('data with space')
  table, splits = {}, {}
  for seed, name in enumerate(('train', 'validation', 'test')):
    records = record_maker(40 if name == 'train' else 12, seed=seed)
    for record in records:
      record['image_id'] = f'{name}_{record["image_id"]}'
      table[record['image_id']] = record['feature']
    splits[name] = records
  raw = folder / 'raw'
  raw.mkdir()
  lines = [
    f'{r["image_id"]}#{i}\t{text}\n'
    for records in splits.values()
    for r in records
    for i, text in enumerate(r['captions'])
  ]
  (raw / 'captions.token').write_text(''.join(lines))
  for name, records in splits.items():
    (raw / f'{name}.txt').write_text(
      ''.join(f'{r["image_id"]}\n' for r in records)
    )
  np.savez(
    raw / 'features.npz',
    ids=np.asarray(list(table)),
    features=np.stack(list(table.values())),
  )
  build.build(
    build.BuildConfig(
      dataset='custom',
      raw_dir=str(raw),
      features=str(raw / 'features.npz'),
      data_dir=str(folder),
      captions=str(raw / 'captions.token'),
      train_list=str(raw / 'train.txt'),
      validation_list=str(raw / 'validation.txt'),
      test_list=str(raw / 'test.txt'),
    )
  )
  return str(folder)


def run(workdir, data_dir, **changes):
  """Run a task with ``OPTIONS`` and changes to them."""
  options = {**OPTIONS, 'workdir': str(workdir), 'data_dir': str(data_dir)}
  tasks.run(Given({**options, **changes}))


@pytest.fixture(scope='module')
def workdir(data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('work dir')
  run(folder, data_dir)
  return folder


def read_lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def read_evaluation(workdir, retrieval=True):
  """Read evaluation.json, and see that it has all fields, no number lacking."""
  result = json.loads((workdir / 'evaluation.json').read_text())
  values = [result['cider_d'], result['rouge_l'], result['step']]
  for group, names in FIELDS.items():
    if group.startswith('retrieval') and not retrieval:
      continue
    inner = result
    for name in group.split('.') if group else ():
      inner = inner[name]
    assert set(names) <= inner.keys(), group
    if group.startswith(('perplexity', 'captions', 'retrieval')):
      values += [inner[name] for name in names]
  for name in ('cumulative', 'precisions'):
    assert len(result['bleu'][name]) == 4
    values += result['bleu'][name]
  assert all(math.isfinite(x) and x >= 0 for x in values)
  if not retrieval:
    assert result['retrieval'] is None
  return result


def test_everything_is_written(workdir):
  result = read_evaluation(workdir)
  assert [result[name] for name in FIELDS['']] == [
    'custom',
    'test',
    'm-rnn',
    checkpoint.Checkpoints(workdir).best_step(),
  ]
  convention = result['convention']
  assert [convention[name] for name in FIELDS['convention']] == [
    1,
    True,
    2,
    3,
    0,
    10,
  ]
  # Uniform over the words: 27; by how frequent each is: 19.3.
  assert 1 < result['perplexity']['corpus'] < 10
  for group in FIELDS:
    if group.startswith('retrieval'):
      ranks = result['retrieval'][group.partition('.')[2]]
      assert ranks['r@1'] <= ranks['r@5'] <= ranks['r@10'] <= 100
      assert min(ranks['median_rank'], ranks['mean_rank']) >= 1
  captions = read_lines(workdir / 'captions.jsonl')
  assert len(captions) == 12
  assert captions[0].keys() == {
    'image_id',
    'caption',
    'log_prob',
    'score',
    'perplexity',
    'cut',
  }
  queries = read_lines(workdir / 'retrieval.jsonl')
  assert len([q for q in queries if q['query'] == 'image']) == 12
  for query in queries:
    scores = [item['score'] for item in query['top']]
    assert scores == sorted(scores, reverse=True)
    if query['rank'] <= len(query['top']):
      assert any(item['correct'] for item in query['top'])
  for name in ('log.jsonl', 'loss.png'):
    assert (workdir / name).stat().st_size > 0
  assert list(workdir.glob('events.out.tfevents.*'))
  table = tables.compare([str(workdir)])
  assert 'BLEU B-4' in table and 'chance' in table


def test_the_page_of_a_workdir(workdir, data_dir):
  assert (workdir / 'recall_curve.csv').stat().st_size > 0
  assert (workdir / 'recall_curve.png').stat().st_size > 0
  values = {'task': 'report', 'workdir': str(workdir), 'data_dir': data_dir}
  tasks.run(Given(values))
  text = (workdir / 'report.html').read_text()
  for image in range(12):
    assert f'"id":"test_{image:04d}.jpg"' in text
  assert text.count('<svg class="chart"') == 4
  assert 'm-rnn on custom, test split' in text
  assert text.count('"logProb"') == 12
  assert '"found"' in text


def test_a_workdir_alone_is_enough(workdir):
  values = {
    'workdir': str(workdir),
    'task': 'caption',
    'split': 'validation',
    'nbest': 2,
    'prefix': 'the dog',
  }
  tasks.run(Given(values))
  lines = read_lines(workdir / 'captions_validation.jsonl')
  assert all(line['caption'].startswith('the dog') for line in lines)
  assert all(len(line['nbest']) == 2 for line in lines)


def test_a_finished_run_says_so(workdir, data_dir, capsys):
  run(workdir, data_dir, task='train')
  assert 'training is finished' in capsys.readouterr().out


def test_other_settings_are_refused(workdir, data_dir):
  with pytest.raises(InputError, match='--embedding_size=9'):
    run(workdir, data_dir, embedding_size=9)


def test_scores_are_not_computed_twice(workdir, data_dir, capsys):
  run(workdir, data_dir, task='retrieve', norm_images=2)
  assert capsys.readouterr().out.count('not computed again') == 2


def test_fewer_training_images_than_asked_for(workdir, data_dir, capsys):
  run(workdir, data_dir, task='retrieve', norm_images=300)
  assert 'carries 40 training images' in capsys.readouterr().err


def test_captions_by_consensus(workdir, data_dir):
  run(
    workdir,
    data_dir,
    task='caption',
    split='validation',
    beam_size=4,
    nbest=3,
    rerank_neighbors=5,
    rerank_captions=4,
  )
  for line in read_lines(workdir / 'captions_validation.jsonl'):
    scores = [hypothesis['consensus'] for hypothesis in line['nbest']]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert line['caption'] == line['nbest'][0]['caption']


def test_reference_protocol(workdir, data_dir):
  run(
    workdir,
    data_dir,
    task='evaluate',
    split='validation',
    length_protocol='reference',
    context_words=2,
    retrieval=False,
  )
  path = workdir / 'captions_reference_length_validation.jsonl'
  lines = read_lines(path)
  result = json.loads((workdir / 'evaluation_validation.json').read_text())
  assert result['skipped'] == 0
  assert result['retrieval'] is None
  assert result['convention']['context_words'] == 2
  # 'A dog runs in the park', 'The dog runs', 'One dog that runs ...'
  lengths = {len(line['caption'].split()) for line in lines}
  assert lengths == {1, 4, 6}


@pytest.mark.slow
def test_rnn_base_cannot_rank(data_dir, tmp_path):
  run(
    tmp_path,
    data_dir,
    task='train_and_evaluate',
    model='rnn-base',
    num_epochs=1.0,
    beam_size=1,
  )
  read_evaluation(tmp_path, retrieval=False)
  with pytest.raises(InputError, match='does not see the image'):
    run(tmp_path, data_dir, task='retrieve', model='rnn-base', num_epochs=1.0)


@pytest.mark.slow
def test_scenes_from_pixels_to_captions(scenes_data_dir, tmp_path):
  workdir = tmp_path / 'work'
  options = {
    'dataset': 'scenes',
    'num_epochs': 12.0,
    'eval_every_steps': 48,
    'learning_rate': 0.01,
    'feature_scaling': 'l2',
    'word_dropout': 0.0,
    'recurrent_dropout': 0.0,
    'norm_images': 4,
  }
  run(workdir, scenes_data_dir, **options)
  result = read_evaluation(workdir)
  assert result['convention']['images'] == 5
  assert result['convention']['sentences'] == 25
  assert result['perplexity']['corpus'] < 40  # Untrained: about 185.
  assert len(read_lines(workdir / 'retrieval.jsonl')) == 5 + 25
  # Pictures taken for photos of one's own get the captions that they have.
  captions = read_lines(workdir / 'captions.jsonl')
  (folder,) = scenes_data_dir.glob('scenes_images/*')
  run(
    workdir,
    scenes_data_dir,
    task='caption',
    photos=','.join(str(folder / f'{x["image_id"]}.jpg') for x in captions),
    output=str(tmp_path / 'own.jsonl'),
    **options,
  )
  own = read_lines(tmp_path / 'own.jsonl')
  assert [x['caption'] for x in own] == [x['caption'] for x in captions]


def test_no_model_no_task(data_dir, tmp_path):
  with pytest.raises(InputError, match='no trained model'):
    run(tmp_path, data_dir, task='caption')


def test_a_cost_that_is_not_finite_stops_the_run(data_dir, tmp_path):
  with pytest.raises(InputError, match=r'step \d+: the cost is'):
    run(
      tmp_path,
      data_dir,
      task='train',
      optimizer='sgd',
      learning_rate=1e30,
      clip_norm=0.0,
      warmup_steps=0,
    )
  assert checkpoint.Checkpoints(tmp_path).latest_step() is None

"""Shards put together are the input, in its order."""

import csv
import json

import pytest
from scoring_jobs import IDS, names, read, run

from mrnn_jax import config as config_lib
from mrnn_jax import tasks
from mrnn_jax.runtime.errors import InputError


def merge(output):
  given = {'task': 'score', 'output': str(output), 'merge': True}
  tasks.run(config_lib.Given(given, frozenset(given)))


def score(folder, output, count=3, **changes):
  for i in range(count):
    run(folder, output, shard=f'{i}/{count}', **changes)


@pytest.fixture(scope='module')
def tables(folder):
  """The records as CSV, some with line ends and quotes in a field."""
  records = [x for x in read(folder / 'r.jsonl') if 'sentence' in x]
  for suffix in ('.csv', '.csv.gz'):
    path = folder / f'odd{suffix}'
    if suffix == '.csv':
      with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['note', 'image_id', 'sentence'])
        for n, x in enumerate(records):
          note = ['plain', 'two\nlines', 'a "quoted" one', ''][n % 4]
          writer.writerow([note, x['image_id'], x['sentence']])
  return folder / 'odd.csv'


def test_lines_are_those_of_one_shard(folder, tmp_path, capsys):
  score(folder, tmp_path / 'shards')
  said = capsys.readouterr().out
  assert said.count('--merge') == 1  # Once all are complete.
  assert '--task=score --merge' in said
  run(folder, tmp_path / 'one')
  merge(tmp_path / 'shards')
  assert [x['n'] for x in read(tmp_path / 'shards/scores.jsonl')] == [
    *range(60)
  ]
  assert (tmp_path / 'shards/scores.jsonl').read_bytes() == (
    tmp_path / 'one/scores-00000-of-00001.jsonl'
  ).read_bytes()
  assert '60 records, in the order' in capsys.readouterr().out
  # Once more: the same.
  merge(tmp_path / 'shards')
  assert len(read(tmp_path / 'shards/scores.jsonl')) == 60


def test_rows_of_a_table(folder, tables, tmp_path):
  score(folder, tmp_path / 'shards', score_input=str(tables))
  run(folder, tmp_path / 'one', score_input=str(tables))
  merge(tmp_path / 'shards')
  assert (tmp_path / 'shards/scores.csv').read_bytes() == (
    tmp_path / 'one/scores-00000-of-00001.csv'
  ).read_bytes()


def test_rows_of_parquet(folder, tmp_path):
  pq = pytest.importorskip('pyarrow.parquet')
  pa = pytest.importorskip('pyarrow')
  rows = [
    {'n': n, 'image_id': IDS[n % 4], 'sentence': 'a dog runs'}
    for n in range(50)
  ]
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'r.parquet')
  score(folder, tmp_path / 'out', 2, score_input=str(tmp_path / 'r.parquet'))
  merge(tmp_path / 'out')
  merged = pq.read_table(tmp_path / 'out/scores.parquet')
  assert merged['n'].to_pylist() == [*range(50)]
  assert merged.schema.names[-4:] == ['log_prob', 'perplexity', 'words', 'oov']


def test_several_files_packed_and_with_bad_records(folder, tmp_path):
  lines = (folder / 'r.jsonl').read_text().splitlines()
  lines[3], lines[50] = '{}', 'nothing'
  for i in range(4):
    part = '\n'.join(lines[15 * i : 15 * i + 15])
    (tmp_path / f'in{i}.jsonl').write_text(part)
  changes = {'score_input': f'{tmp_path}/in*.jsonl', 'max_bad_records': 2}
  score(folder, tmp_path / 'out', 3, **changes)
  merge(tmp_path / 'out')
  there = [
    json.loads(line)['n'] for i, line in enumerate(lines) if i not in (3, 50)
  ]
  assert [x['n'] for x in read(tmp_path / 'out/scores.jsonl')] == there
  rejects = read(tmp_path / 'out/rejects.jsonl')
  assert [x['line'] for x in rejects] == [4, 6]
  assert [x['file'][-9:] for x in rejects] == ['in0.jsonl', 'in3.jsonl']


def test_what_cannot_be_put_together(folder, tmp_path):
  with pytest.raises(InputError, match='no complete shard in'):
    merge(tmp_path / 'nowhere')
  output = tmp_path / 'out'
  for i in (0, 2):
    run(folder, output, shard=f'{i}/4')
  with pytest.raises(InputError, match=r'2 of 4 shards .* \(1, 3\)'):
    merge(output)
  for i in (1, 3):
    run(folder, output, shard=f'{i}/4')
  path = output / 'scores-00001-of-00004.jsonl'
  path.write_text(path.read_text()[:-1] + ' ')
  with pytest.raises(InputError, match='00001-of-00004.jsonl is damaged'):
    merge(output)
  assert 'scores.jsonl' not in names(output)
  path.unlink()
  with pytest.raises(InputError, match='1 of 4 shards'):
    merge(output)


def test_flags_of_scoring_go_without_merge(folder, tmp_path):
  with pytest.raises(InputError, match='--shard has no effect with --merge'):
    given = {'task': 'score', 'merge': True, 'shard': '0/2', 'output': 'o'}
    tasks.run(config_lib.Given(given, frozenset(given)))

import gzip
import json
import sys

import pytest

from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import inputs, records, text_files
from mrnn_jax.scoring.records import BadRecord
from mrnn_jax.scoring.shards import Shard

FIELDS = ['log_prob', 'word_log_probs']
GOOD = {'image_id': 'a', 'sentence': 'A dog.'}


def read(path, size=1000, wanted=lambda number: True):
  form = inputs.choose_format(path, FIELDS)
  return list(form.blocks(path, size, wanted))


def reasons(path):
  return [
    (x.line, x.reason)
    for x in read(path)[0].records
    if isinstance(x, BadRecord)
  ]


def write_back(path, results, output):
  """Write the good records of a file again, and return what is written."""
  form = inputs.choose_format(path, FIELDS)
  rows = [x.row for block in read(path) for x in block.records]
  with records.create(output, packed=False) as file:
    writer = form.writer(file, form.head(path))
    writer.write(rows, results)
    writer.close()
  return output.read_bytes()


@pytest.fixture
def folder(tmp_path):
  from etils import epath

  return epath.Path(tmp_path)


def test_both_forms_of_a_record(folder):
  path = folder / 'r.jsonl'
  lines = [
    GOOD,
    {'image_id': 7, 'sentences': ['One.', 'Two.']},
    {'image_id': 'b', 'captions': ['Three.'], 'caption': 'Four.'},
  ]
  path.write_text('\n\n'.join(map(json.dumps, lines)))
  (block,) = read(path)
  found = [(x.line, x.image_id, x.sentences, x.single) for x in block.records]
  assert found == [
    (1, 'a', ['A dog.'], True),
    (3, '7', ['One.', 'Two.'], False),
    (5, 'b', ['Four.'], True),
  ]
  assert block.position == path.stat().length


def test_other_fields_are_kept_and_results_replaced(folder):
  path = folder / 'r.jsonl'
  fields = {'x': [1, {'y': 'ü'}], 'log_prob': 'old', **GOOD, 'z': None}
  path.write_text(json.dumps(fields))
  text = write_back(path, [{'log_prob': -1.5}], folder / 'o.jsonl').decode()
  assert json.loads(text) == {**fields, 'log_prob': -1.5}
  assert text.count('log_prob') == 1
  assert 'ü' in text
  assert text.endswith('}\n')


@pytest.mark.parametrize(
  ('line', 'reason'),
  [
    (b'{"image_id": "a"', 'is no JSON'),
    (b'[1]', 'is no JSON object'),
    (b'{"sentence": "A"}', 'has no "image_id"'),
    (b'{"image_id": true, "sentence": "A"}', 'has no "image_id"'),
    (b'{"image_id": "a"}', 'has no "sentence"'),
    (b'{"image_id": "a", "sentence": 3}', 'neither text nor a list'),
    (b'{"image_id": "a", "sentences": []}', 'has no sentence'),
    (b'{"image_id": "a", "sentences": ["A", 3]}', 'item 2 is no text'),
    (b'{"image_id": "a", "sentence": "\xff"}', 'is not UTF-8'),
    (b'{"image_id": "a", "sentence": "\\ud800"}', 'cannot be written'),
    (b'{"image_id": "a", "sentence": "A", "x": 1e999}', 'cannot be written'),
    (b'{"image_id": "a", "sentence": "A", "x": NaN}', 'NaN is not a number'),
    (
      b'{"image_id": "a", "x": 1' + b'0' * 5000 + b'}',
      'is JSON that cannot be read',
    ),
    (b'{"x": ' + b'[' * 200_000 + b'}', 'is JSON nested too deeply'),
    (b'x' * (text_files.MAX_LINE_BYTES + 5), 'is longer than 1 MB'),
  ],
)
def test_bad_lines_of_json(folder, line, reason):
  path = folder / 'r.jsonl'
  good = json.dumps(GOOD).encode()
  path.write_bytes(good + b'\n' + line + b'\n' + good)
  (block,) = read(path)
  assert [x.line for x in block.records] == [1, 2, 3]
  ((number, found),) = reasons(path)
  assert number == 2
  assert reason in found


def test_blocks_by_number_and_by_bytes(folder, monkeypatch):
  path = folder / 'r.jsonl'
  line = json.dumps(GOOD) + '\n'
  path.write_text(line * 7)
  blocks = read(path, 3)
  assert [len(b.records) for b in blocks] == [3, 3, 1]
  assert [b.number for b in read(path, 3, lambda n: n != 1)] == [0, 2]
  monkeypatch.setattr(records, 'BLOCK_BYTES', 2 * len(line) - 1)
  assert [len(b.records) for b in read(path, 3)] == [2, 2, 2, 1]


@pytest.mark.parametrize(('suffix', 'mark'), [('csv', ','), ('tsv', '\t')])
def test_tables(folder, suffix, mark):
  path = folder / f'r.{suffix}'
  rows = [
    ['\ufeffid', 'log_prob', 'sentence', 'image_id'],
    ['1', 'old', f'"A{mark} ""dog""\r\nruns."', 'a'],
    [''],
    ['2', 'old', 'Two.', 'b'],
  ]
  path.write_text('\r\n'.join(mark.join(row) for row in rows))
  records = read(path)[0].records
  found = [(x.line, x.image_id, x.sentences) for x in records]
  assert found == [
    (2, 'a', [f'A{mark} "dog"\r\nruns.']),
    (5, 'b', ['Two.']),
  ]
  results = [{'log_prob': -1.5, 'word_log_probs': [-1.0, -0.5]}] * 2
  text = write_back(path, results, folder / 'o').decode()
  lines = text.split('\n')
  assert lines[0].split(mark) == ['id', 'sentence', 'image_id', *FIELDS]
  assert lines[-2].split(mark) == ['2', 'Two.', 'b', '-1.5', '-1.0 -0.5']
  assert lines[1:-2] == [
    f'1{mark}"A{mark} ""dog""\r',
    f'runs."{mark}a{mark}-1.5{mark}-1.0 -0.5',
  ]


def test_bad_rows_of_a_table(folder):
  path = folder / 'r.csv'
  path.write_bytes(
    b'image_id,sentence\n'
    b'a,b,c\n'
    b'a,"b"c\n'
    b'a,\xff\n'
    b',A dog.\n'
    b'b,' + b'y' * (text_files.MAX_LINE_BYTES + 5) + b'\n'
    b'a,A dog.\n'
    b'a,"never closed\n' + 3000 * (b'x' * 99 + b'\n')
  )
  records = read(path, 10_000)[0].records
  assert [x.line for x in records if not isinstance(x, BadRecord)] == [7]
  found = dict(reasons(path))
  assert 'has 3 fields where the first line names 2' in found[2]
  assert 'is no line of a table' in found[3]
  assert 'is not UTF-8' in found[4]
  assert 'has no "image_id"' in found[5]
  assert 'is longer than 1 MB' in found[6]
  assert 'field larger than field limit' in found[8]
  # What the quote took in is read again, each line by itself.
  assert 'has 1 fields' in found[9]


@pytest.mark.parametrize('num_rows', [20, 6000])
def test_a_quote_that_is_never_closed_spoils_one_row(folder, num_rows):
  rows = [f'{i},A dog runs over field {i}.' for i in range(num_rows)]
  rows[5] = '5,"A dog.'
  rows[7] = '7,\xff'
  path = folder / 'r.csv'
  text = '\n'.join(['image_id,sentence', *rows]) + '\n'
  path.write_bytes(text.encode('latin-1'))
  blocks = read(path, 1000)
  records = [x for block in blocks for x in block.records]
  assert len(records) == num_rows
  assert [x.line for x in records] == list(range(2, num_rows + 2))
  bad = [x.line for x in records if isinstance(x, BadRecord)]
  assert bad == [7, 9]


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('r.csv', b'id,sentence\n', 'names no columns "image_id" and "sentence"'),
    ('r.csv', b'\xff\n', 'line 1 is not UTF-8'),
    ('r.txt', b'x', 'is no file of records by its name'),
    ('r.jsonl', b'', 'is empty'),
  ],
)
def test_files_that_are_none(folder, name, content, message):
  (folder / name).write_bytes(content)
  with pytest.raises(InputError, match=message):
    inputs.Inputs(str(folder / name), FIELDS)


def test_damaged_files(folder):
  path = folder / 'r.jsonl.gz'
  packed = gzip.compress(json.dumps(GOOD).encode())
  for content in (packed[:-9], b'no gzip'):
    path.write_bytes(content)
    with pytest.raises(InputError, match='r.jsonl.gz cannot be read'):
      list(inputs.Inputs(str(path), FIELDS).blocks(Shard(0, 1), 9))


def test_finding_files(folder):
  for name in ('b.jsonl', 'a.jsonl', '.hidden.jsonl', 'd/c.jsonl', 'd/e.csv'):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text('x')

  def names(pattern):
    return [x.name for x in inputs.find_files(f'{folder}/{pattern}')]

  assert names('*.jsonl') == ['a.jsonl', 'b.jsonl']
  assert names('[ab].jsonl') == ['a.jsonl', 'b.jsonl']
  assert names('*/e.csv') == ['e.csv']
  with pytest.raises(InputError, match='there is no'):
    names('*.parquet')
  with pytest.raises(InputError, match='a . for each level'):
    names('**/*.jsonl')
  with pytest.raises(InputError, match='is a folder'):
    names('d')
  with pytest.raises(InputError, match='of two kinds'):
    inputs.Inputs(f'{folder}/d/*', FIELDS)


def test_tables_of_other_columns_are_refused(folder):
  (folder / 'a.csv').write_text('image_id,sentence\na,A.\n')
  (folder / 'b.csv').write_text('image_id,x,sentence\na,1,A.\n')
  found = inputs.Inputs(f'{folder}/*.csv', FIELDS)
  with pytest.raises(InputError, match='b.csv has other columns than .*a.csv'):
    list(found.blocks(Shard(0, 1), 5))


@pytest.mark.parametrize('num_shards', [1, 2, 3, 5, 7])
def test_shards_together_are_the_input(folder, num_shards):
  lengths = [10, 0, 1, 7, 3]
  number = 0
  for f, length in enumerate(lengths):
    lines = []
    for _ in range(length):
      lines.append(json.dumps({'image_id': number, 'sentence': 'A.'}) + '\n')
      number += 1
    (folder / f'{f}.jsonl').write_text(''.join(lines))
  found = inputs.Inputs(f'{folder}/*.jsonl', FIELDS)
  seen = []
  for index in range(num_shards):
    shard = Shard(index, num_shards)
    blocks = list(found.blocks(shard, 2))
    ids = [int(x.image_id) for _, block in blocks for x in block.records]
    assert ids == sorted(ids)
    positions = [block.position for _, block in blocks]
    assert positions == sorted(positions)
    assert max(positions, default=0) <= found.num_bytes(shard)
    seen += ids
  assert sorted(seen) == list(range(number))


def test_the_identity_of_the_input(folder, monkeypatch):
  def identity(name='a', content='x' * 9000):
    path = folder / name / 'r.jsonl'
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return inputs.Inputs(str(path), FIELDS).identity()

  assert identity() == identity('elsewhere')
  assert identity() != identity(content='x' * 9001)
  assert identity() != identity(content='x' * 8999 + 'y')
  assert identity() != identity(content='x' * 4500 + 'y' + 'x' * 4499)
  # Of a larger file pieces are looked at, the last one too.
  monkeypatch.setattr(inputs, '_PIECES', 3)
  monkeypatch.setattr(inputs, '_PIECE_BYTES', 10)
  assert identity() == identity(content='x' * 2000 + 'y' + 'x' * 6999)
  for at in (0, 4499, 8999):
    assert identity() != identity(content='x' * at + 'y' + 'x' * (8999 - at))


class TestParquet:
  @pytest.fixture
  def pa(self):
    pytest.importorskip('pyarrow')
    import pyarrow as pa
    import pyarrow.parquet  # noqa: F401

    return pa

  def write(self, pa, path, columns, **options):
    pa.parquet.write_table(pa.table(columns), str(path), **options)
    return path

  def test_blocks_over_groups_of_any_size(self, pa, folder):
    path = self.write(
      pa,
      folder / 'r.parquet',
      {'image_id': list(range(20)), 'sentence': ['A.'] * 20},
      row_group_size=7,
    )
    blocks = read(path, 3, lambda number: number in (0, 2, 6))
    lines = [[x.line for x in block.records] for block in blocks]
    assert lines == [[1, 2, 3], [7, 8, 9], [19, 20]]
    assert blocks[-1].position == path.stat().length

  def test_types_are_kept(self, pa, folder):
    columns = {
      'image_id': pa.array(['a', 'b']),
      'sentences': pa.array([['A.', 'B.'], ['C.']]),
      'log_prob': pa.array(['old', 'old']),
      'when': pa.array([1, 2], pa.timestamp('ns')),
    }
    path = self.write(pa, folder / 'r.parquet', columns)
    results = [
      {'log_prob': [-1.0, -2.0], 'word_log_probs': [[-1.0], [-1.5, -0.5]]},
      {'log_prob': [-3.0], 'word_log_probs': [[-3.0]]},
    ]
    write_back(path, results, folder / 'o.parquet')
    table = pa.parquet.read_table(str(folder / 'o.parquet'))
    assert table.column_names == ['image_id', 'sentences', 'when', *FIELDS]
    for name in ('image_id', 'sentences', 'when'):
      assert table[name].combine_chunks() == columns[name]
    for name in FIELDS:
      assert table[name].to_pylist() == [x[name] for x in results]

  def test_bad_rows_and_files(self, pa, folder):
    path = self.write(
      pa,
      folder / 'r.parquet',
      {'image_id': ['a', None, 'b'], 'sentence': [None, 'A.', 'B.']},
    )
    assert [line for line, _ in reasons(path)] == [1, 2]
    self.write(pa, folder / 'x.parquet', {'image_id': ['a']})
    (folder / 'y.parquet').write_text('no Parquet')
    for name, message in (
      ('x', 'has no columns .* it has image_id'),
      ('y', 'cannot be read as Parquet'),
    ):
      with pytest.raises(InputError, match=message):
        inputs.Inputs(str(folder / f'{name}.parquet'), FIELDS)

  def test_what_is_no_text(self, pa, folder):
    """Arrow hands on what stands in a file; a bad row spoils no other one."""
    raw = {
      'image_id': pa.array([b'a', b'\xff', b'c'], pa.binary()),
      'sentence': pa.array([b'A.', b'B.', b'C\xaa'], pa.binary()),
    }
    columns = {name: x.view(pa.string()) for name, x in raw.items()}
    path = self.write(pa, folder / 'r.parquet', columns)
    assert [line for line, _ in reasons(path)] == [2, 3]
    assert all('is not UTF-8' in reason for _, reason in reasons(path))
    (good,) = (x for x in read(path)[0].records if not isinstance(x, BadRecord))
    assert (good.line, good.image_id, good.sentences) == (1, 'a', ['A.'])
    assert path.read_bytes().count(b'sentence') > 1
    path.write_bytes(path.read_bytes().replace(b'sentence', b'sentenc\xff'))
    with pytest.raises(InputError, match='cannot be read as Parquet') as error:
      inputs.Inputs(str(path), FIELDS)
    assert '\n' not in str(error.value)

  def test_without_pyarrow(self, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    monkeypatch.delitem(
      sys.modules, 'mrnn_jax.scoring.parquet_files', raising=False
    )
    monkeypatch.delattr('mrnn_jax.scoring.parquet_files', raising=False)
    with pytest.raises(InputError, match='pip install pyarrow'):
      inputs.choose_format(folder / 'r.parquet', FIELDS)

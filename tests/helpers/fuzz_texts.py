"""Damaged records to score and captions to measure: kinds of files, readers."""

import contextlib
import csv
import gzip
import io
import json
import pathlib
import tempfile

import fuzzing
from fuzzing import Kind
import pyarrow as pa
from pyarrow import parquet

from mrnn_jax.metrics import __main__ as metrics_command
from mrnn_jax.runtime import errors
from mrnn_jax.scoring import inputs, records
from mrnn_jax.scoring.shards import Shard

# Records to score.

_RECORDS = [
  {'image_id': f'{i}.jpg', 'sentence': text, 'more': i}
  for i, text in enumerate(['A dog .', 'Caf\xe9 "au lait"', 'a,b', 'x\ty'] * 6)
]


def _score(path):
  """Read records, and write them again with results."""
  there = inputs.Inputs(str(path), ('log_prob', 'words'))
  there.identity()
  written = io.BytesIO()
  writer = there.writer(written)
  num_records = 0
  for _, block in there.blocks(Shard(0, 1), 7):
    good = [x for x in block.records if isinstance(x, records.Record)]
    for record in block.records:
      if isinstance(record, records.BadRecord):
        assert fuzzing.is_plain(record.reason), record.reason
    results = [
      {'log_prob': -1.5, 'words': 3}
      if record.single
      else {
        'log_prob': [-1.5] * len(record.sentences),
        'words': [3] * len(record.sentences),
      }
      for record in good
    ]
    writer.write([record.row for record in good], results)
    num_records += len(good)
  writer.close()
  if there.suffix.startswith('.jsonl'):
    for line in written.getvalue().splitlines():
      json.loads(line)
  return num_records


def _json_records():
  lists = [
    {'image_id': i, 'sentences': [x['sentence'], 'two'], 'more': [{}]}
    for i, x in enumerate(_RECORDS)
  ]
  return [
    '\n'.join(map(json.dumps, content)).encode()
    for content in (_RECORDS, lists, [*lists[:3], *_RECORDS[:3]])
  ]


def _table(delimiter):
  def make():
    made = []
    for mark in ('', '\ufeff'):
      text = io.StringIO(newline='')
      writer = csv.DictWriter(
        text, ['image_id', 'sentence', 'more'], delimiter=delimiter
      )
      writer.writeheader()
      writer.writerows(_RECORDS)
      made.append((mark + text.getvalue()).encode())
    return made

  return make


def _packed(make):
  return lambda: [gzip.compress(data, mtime=0) for data in make()]


def _parquet():
  lists = [
    {'image_id': x['image_id'], 'captions': [x['sentence'], 'two']}
    for x in _RECORDS
  ]
  return [
    fuzzing.saved(
      lambda file, rows=rows, how=how: parquet.write_table(
        pa.Table.from_pylist(rows), file, row_group_size=9, compression=how
      )
    )
    for rows, how in ((_RECORDS, 'none'), (_RECORDS, 'snappy'), (lists, 'zstd'))
  ]


# Captions to measure.


def _measured(position):
  """Return what measures captions, the file of one place among three."""
  sound = (_hypotheses(), _references(), _training_captions())

  def read(path):
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
      paths = [pathlib.Path(folder) / f'{i}' for i in range(3)]
      for i, file in enumerate(paths):
        file.write_bytes(path.read_bytes() if i == position else sound[i][0])
      out, err = io.StringIO(), io.StringIO()
      with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = metrics_command.main(
          [*map(str, paths[:2]), f'--training_captions={paths[2]}']
        )
    if code:
      raise errors.InputError(err.getvalue().removesuffix('\n'))
    return json.loads(out.getvalue())

  return read


def _hypotheses():
  lines = [{'image_id': i, 'caption': f'a dog {i}'} for i in range(5)]
  return [b'\n'.join(map(fuzzing.as_json, lines))]


def _references():
  lines = [
    {'image_id': str(i), 'captions': [f'A dog {i} .', 'Caf\xe9']}
    for i in range(5)
  ]
  return [b'\n'.join(map(fuzzing.as_json, lines))]


def _training_captions():
  return [*_references(), *_hypotheses(), b'A dog 3\nCaf\xc3\xa9\n']


_lines = fuzzing.repack_json_lines


def _lines_if_json(data, rng):
  repack = _lines if data.startswith(b'{') else fuzzing.mutate
  return repack(data, rng)


KINDS: dict[str, Kind] = {
  'records jsonl': Kind('.jsonl', _json_records, _score, _lines),
  'records csv': Kind('.csv', _table(','), _score),
  'records tsv': Kind('.tsv', _table('\t'), _score),
  'records jsonl.gz': Kind(
    '.jsonl.gz', _packed(_json_records), _score, fuzzing.repack_gzip
  ),
  'records csv.gz': Kind(
    '.csv.gz', _packed(_table(',')), _score, fuzzing.repack_gzip
  ),
  'records parquet': Kind('.parquet', _parquet, _score),
  'hypotheses': Kind('.jsonl', _hypotheses, _measured(0), _lines),
  'references': Kind('.jsonl', _references, _measured(1), _lines),
  'training captions': Kind(
    '.txt', _training_captions, _measured(2), _lines_if_json
  ),
}

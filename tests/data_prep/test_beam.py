"""Apache Beam writes what this process writes, byte by byte."""

import importlib.util
import json

from array_record.python import array_record_module
import numpy as np
import pytest
import raw_data

from data_prep import build, records
from data_prep.writing import beam_jobs, shards
from data_prep.writing import content as content_lib
from mrnn_jax.data import feature_files
from mrnn_jax.runtime import beam_engine, errors


@pytest.fixture
def inputs(tmp_path):
  return raw_data.write(tmp_path)


def contents(folder):
  """Return path -> bytes of all files below a folder."""
  paths = [path for path in folder.rglob('*') if path.is_file()]
  return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def build_both(capsys, tmp_path, inputs, *args):
  """Build by ourselves and by Beam; return the files of both."""
  found = []
  for name, more in (('here', ()), ('beam', ('--beam_runner=DirectRunner',))):
    folder = tmp_path / name
    args_of_beam = args if more else ()
    code, _, err = raw_data.run_build(
      capsys, *inputs[:-1], f'--data_dir={folder}', *more, *args_of_beam
    )
    assert code == 0, err
    found.append(contents(folder))
  return found


@pytest.fixture
def small_shards(monkeypatch):
  monkeypatch.setattr(shards, 'SHARD_BYTES', 64)


# Beam's own modules warn of what they use.
@pytest.mark.filterwarnings('default')
def test_beam_writes_the_same_bytes(capsys, tmp_path, inputs, small_shards):
  pytest.importorskip('apache_beam')
  here, beam = build_both(capsys, tmp_path, inputs)
  assert here == beam
  names = [n for n in here if 'train.array_record' in n]
  assert len(names) == 3  # One image each.


@pytest.mark.filterwarnings('default')
def test_a_failing_engine_is_one_sentence(
  capsys, tmp_path, inputs, monkeypatch
):
  pytest.importorskip('apache_beam')

  def fail(*unused):
    raise OSError('no way')

  monkeypatch.setattr(shards, 'write', fail)
  code, _, err = raw_data.run_build(
    capsys, *inputs, '--beam_runner=DirectRunner'
  )
  assert code == 1
  assert "error: Beam's DirectRunner has failed (no way" in err
  # Nothing is left of it.
  assert contents(tmp_path / 'data') == {}


@pytest.mark.slow
@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('workers', [1, 2])
def test_beam_on_several_processes(capsys, tmp_path, workers):
  pytest.importorskip('apache_beam')
  rng = np.random.default_rng(0)
  num = 3000
  lines = ['image,caption']
  lines += [
    f'{i}.jpg,Caf\xe9 {i % 977} of {k}' for i in range(num) for k in 'ab'
  ]
  (tmp_path / 'captions.csv').write_text('\n'.join(lines))
  np.savez(
    tmp_path / 'f.npz',
    ids=[f'{i}.jpg' for i in range(num)],
    # About four shards of training images.
    features=rng.normal(size=(num, 25_000)).astype(np.float32),
  )
  inputs = [
    '--dataset=mine',
    f'--captions={tmp_path / "captions.csv"}',
    f'--features={tmp_path / "f.npz"}',
    '--data_dir=',
  ]
  options = f'direct_num_workers={workers},direct_running_mode=multi_processing'
  here, beam = build_both(capsys, tmp_path, inputs, f'--beam_options={options}')
  assert here == beam
  assert len([n for n in here if 'train.array_record' in n]) == 4


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--beam_runner=Spark'], 'DirectRunner, SparkRunner, FlinkRunner'),
    (['--beam_options=a=1'], 'name the runner too'),
    (['--beam_runner=DirectRunner', '--beam_options=a b'], 'name=value'),
  ],
)
def test_mistakes(capsys, inputs, args, message):
  code, _, err = raw_data.run_build(capsys, *inputs, *args)
  assert code == 1
  assert message in err
  assert len(err.strip().splitlines()) == 1


def test_without_beam_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(errors.InputError, match='pip install apache-beam'):
    beam_engine.check('SparkRunner', None)


def test_scenes_are_written_here(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True)
  with pytest.raises(errors.InputError, match='leave out --beam_runner'):
    build.BuildConfig(dataset='scenes', beam_runner='DirectRunner')


def test_options_come_with_or_without_dashes(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True)
  options = beam_engine.check('FlinkRunner', '--a=1, b=x:9/y ,streaming')
  assert options == ('--a=1', '--b=x:9/y', '--streaming')


def test_a_worker_needs_only_the_names_of_files(tmp_path, small_shards):
  np.savez(tmp_path / 'f.npz', ids=['a', 'b'], features=np.eye(2, 4))
  rows = [records.Record(name, ('A dog',)) for name in ('b.jpg', 'a.jpg')]
  path = tmp_path / 'out'
  job = tmp_path / 'job.json'
  content = [[row.image_id, row.captions] for row in rows]
  job.write_text(json.dumps([str(path), content]))
  images = {
    'features': str(tmp_path / 'f.npz'),
    'feature_ids': None,
    'photos': None,
    'stored': None,
  }
  beam_jobs._write_shard(str(job), **images)
  # Twice: an engine may do a job again.
  beam_jobs._write_shard(str(job), **images)
  table = feature_files.load(tmp_path / 'f.npz')
  features = shards.make_features(content_lib.Images.of_features(table))
  reader = array_record_module.ArrayRecordReader(str(path))
  assert reader.num_records() == 2
  example = features.deserialize_example_np(reader.read([0])[0])
  assert example['image_id'] == b'b.jpg'
  np.testing.assert_array_equal(example['feature'], [0, 1, 0, 0])
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    'f.npz',
    'job.json',
    'out',
  ]


def test_shards_are_alike_and_keep_the_order(small_shards):
  rows = [records.Record(f'{i}', ('x' * 20,)) for i in range(11)]
  parts = shards.cut(rows, 8)
  assert [r for part in parts for r in part] == rows
  assert [len(part) for part in parts] == [1, 2, 2, 2, 2, 2]
  assert len(shards.cut(rows[:2], 10**6)) == 2

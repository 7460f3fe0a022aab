"""A workdir at gs://..., which here is a folder that behaves as a bucket."""

import json
import pathlib
import shutil

from etils import epath
from etils.epath import backend
import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
import numpy as np
import pytest
import small_matrix
import tiny_run

from mrnn_jax import tasks
from mrnn_jax.evaluation import retrieval
from mrnn_jax.runtime import files, workdir_lock
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import log

WORKDIR = 'gs://bucket/runs/w'
# Not public: where it is another in a later Orbax, there is nothing to replace.
gcs_utils = pytest.importorskip('orbax.checkpoint._src.path.gcs_utils')


class Bucket(DirFileSystem):
  """Holds whole files: no empty folders, and what is opened is written anew."""

  protocol = 'gs'

  def open(self, path, mode='rb', **options):
    return super().open(path, mode.replace('a', 'w'), **options)

  def mkdir(self, path, *unused, **options):
    pass

  makedirs = mkdir


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """The folder of the bucket; Orbax's TensorStore goes there, too."""
  folder = tmp_path / 'bucket'
  folder.mkdir()
  remote = Bucket(str(tmp_path), LocalFileSystem(auto_mkdir=True))
  monkeypatch.setattr(
    backend.fsspec_backend,
    'fs',
    lambda path: remote if 'gs:' in str(path) else fsspec.filesystem('file'),
  )
  monkeypatch.setattr(
    gcs_utils,
    'get_kvstore_for_gcs',
    lambda path: {
      'driver': 'file',
      'path': str(tmp_path / path.removeprefix('gs://')),
    },
  )
  monkeypatch.setattr(
    gcs_utils, 'is_hierarchical_namespace_enabled', lambda path: False
  )
  move(monkeypatch, tmp_path / 'cache')
  monkeypatch.chdir(tmp_path)
  return folder


def move(monkeypatch, cache):
  """Go to another machine."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(cache))


def run(workdir, data_dir, task, **changes):
  config = tiny_run.config(
    workdir, data_dir, task=task, rank_image_block=4, **changes
  )
  # Not a path of this machine.
  tasks.run(tiny_run.given(config.replace(workdir=str(workdir))))


def test_the_whole_job(
  bucket, tiny_data_dir, tiny_workdir, tmp_path, monkeypatch, capfd
):
  local, remote = tmp_path / 'local', bucket / 'runs/w'
  shutil.copytree(tiny_workdir, local)
  run(local, tiny_data_dir, 'evaluate')
  # As that one was.
  how = {'log_every_steps': 1, 'keep_checkpoints': 9}
  run(WORKDIR, tiny_data_dir, 'train', **how)
  run(WORKDIR, tiny_data_dir, 'train_and_evaluate', **how)
  assert tiny_run.last_state(remote) == tiny_run.last_state(local)
  for name in (
    'evaluation.json',
    'captions.jsonl',
    'retrieval.jsonl',
    'recall_curve.csv',
    'scores/test_images.npy',
    'scores/test_images.json',
    'scores/test_norm.npy',
  ):
    assert (remote / name).read_bytes() == (local / name).read_bytes(), name
  steps = [line['step'] for line in log.read_log(WORKDIR)]
  assert steps == [line['step'] for line in log.read_log(local)]
  there = {path.name.partition('.1')[0] for path in remote.iterdir()}
  assert there >= {'loss.png', 'recall_curve.png', 'summary.json'}
  [events] = remote.glob('events.out.tfevents.*')
  assert events.stat().st_size > 1000
  assert not list(remote.glob('.*')) and not list(remote.glob('scores/.*'))
  assert capfd.readouterr().err.count('cannot be locked') == 2

  move(monkeypatch, tmp_path / 'another cache')
  run(WORKDIR, tiny_data_dir, 'retrieve')
  said = capfd.readouterr().out
  assert f'{WORKDIR}/scores/test_images.npy is there: not computed' in said
  run(WORKDIR, tiny_data_dir, 'report')
  run(WORKDIR, tiny_data_dir, 'export')
  assert (remote / 'report.html').exists() and (remote / 'model.npz').exists()
  # Nothing took the URL for a name.
  assert not (tmp_path / 'gs:').exists()


def test_a_matrix_under_way_is_here_and_a_finished_one_there(
  bucket, tmp_path, monkeypatch
):
  folder = epath.Path(WORKDIR) / retrieval.FOLDER
  features = small_matrix.FEATURES
  expected = small_matrix.expected(features)
  ranker = small_matrix.FakeRanker()

  def matrix(features=features):
    return small_matrix.store(folder, ranker).matrix('m', features)

  ranker.stop_at = 2
  with pytest.raises(KeyboardInterrupt):
    matrix()
  assert not list(bucket.iterdir())
  ranker.stop_at = None
  np.testing.assert_array_equal(matrix(), expected)
  assert ranker.computed == 4
  kept = bucket / 'runs/w/scores/m.npy'
  np.testing.assert_array_equal(np.load(kept), expected)
  # Here it need not be fetched; elsewhere it is, and begins a larger one.
  before = kept.stat().st_mtime_ns
  matrix()
  move(monkeypatch, tmp_path / 'another cache')
  np.testing.assert_array_equal(matrix(features[:3]), expected[:, :3])
  assert ranker.computed == 4 and kept.stat().st_mtime_ns == before
  more = np.concatenate([features, 50 + features[:2]])
  np.testing.assert_array_equal(matrix(more), small_matrix.expected(more))
  assert ranker.computed == 5
  assert np.load(kept).shape == (6, 9)
  # A copy that was cut short: its state is written last.
  kept.with_suffix('.json').unlink()
  kept.write_bytes(kept.read_bytes()[:50])
  matrix(more)
  assert ranker.computed == 5 and np.load(kept).shape == (6, 9)
  state = json.loads(kept.with_suffix('.json').read_text())
  assert state['complete']


def test_runs_of_one_machine_are_told_apart(bucket, capsys):
  with (
    workdir_lock.hold(WORKDIR, 'train'),
    pytest.raises(InputError, match='in use by another run'),
    workdir_lock.hold(WORKDIR, 'evaluate'),
  ):
    pass
  with (
    workdir_lock.hold(WORKDIR, 'train'),
    workdir_lock.hold(f'{WORKDIR}2', 'train'),
  ):
    pass
  assert 'gs://bucket/runs/w2 cannot be locked' in capsys.readouterr().err


def test_folders_to_work_in(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert files.local_folder(tmp_path) == tmp_path
  assert files.local_folder('~/w') == epath.Path(pathlib.Path.home() / 'w')
  here = files.local_folder(WORKDIR)
  assert here == files.local_folder(epath.Path(WORKDIR))
  assert here.is_relative_to(tmp_path)
  assert here != files.local_folder('gs://bucket/other/w')

"""Evaluation, captions and rankings are the same on any processes.

The short version of that is in ``test_processes.py``.
"""

import shutil
import signal
import time

import jobs
from jobs import Job
import numpy as np
import pytest
import small_matrix
import tiny_run

from mrnn_jax import tasks
from mrnn_jax.decoding import generate
from mrnn_jax.runtime import parallel


@pytest.fixture
def three(monkeypatch):
  """Be one of three processes, which one and with what others say."""
  monkeypatch.setattr(parallel.jax, 'process_count', lambda: 3)

  def be(index, gathered=None):
    monkeypatch.setattr(parallel.jax, 'process_index', lambda: index)
    monkeypatch.setattr(parallel, 'gather', lambda _: gathered)

  return be


@pytest.mark.parametrize('num_rows', [1, 7, 9])
def test_rows_come_together_in_order(three, num_rows):
  rows = np.arange(2 * num_rows).reshape(num_rows, 2)
  share = -(-num_rows // 3)
  shares = [parallel.pad_rows(rows[p::3], share) for p in range(3)]
  for p in range(3):
    three(p, np.stack(shares))
    np.testing.assert_array_equal(rows[parallel.own_rows(num_rows)], rows[p::3])
    whole = parallel.gather_rows(rows[p::3], num_rows)
    np.testing.assert_array_equal(whole, rows)


@pytest.mark.parametrize('index', [0, 1, 2])
def test_items_are_worked_on_in_turns(three, index):
  three(index, np.stack([np.full((2, 4), p, np.float32) for p in range(3)]))
  worked = []

  def work(item):
    worked.append(item)
    return np.zeros((2, item), np.float32)

  items = [4, 3, 1, 2]
  done = list(parallel.map_in_turns(work, items, lambda x: (2, x), (2, 4)))
  assert worked == items[index::3]
  assert [item for item, _ in done] == items
  assert [x.shape for _, x in done] == [(2, item) for item in items]
  assert [x[0, 0] for _, x in done] == [0, 1, 2, 0]


@pytest.mark.parametrize(
  ('num_rows', 'num_devices', 'limit', 'expected'),
  [
    (1000, 1, 200, 167),
    (3000, 1, 200, 200),
    (1000, 4, 200, 84),
    (1, 4, 200, 1),
  ],
)
def test_batches_are_even(three, num_rows, num_devices, limit, expected):
  size = generate.even_batch_size(num_rows, num_devices, limit)
  assert size == expected


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    {'no_repeat_ngram': 2, 'nbest': 3},
    {'rerank_neighbors': 5, 'shortlist': 7},
    {'sample': True},
    {'length_protocol': 'reference', 'beam_size': 1, 'context_words': 1},
  ],
  ids=lambda changes: next(iter(changes)),
)
def test_one_model_is_measured_the_same_everywhere(
  tiny_data_dir, tiny_workdir, tmp_path, changes
):
  options = {'task': 'evaluate', **jobs.EVALUATION, **changes}
  expected = None
  for num_processes, num_devices in ((1, 1), (1, 4), (2, 2), (4, 1)):
    workdir = tmp_path / f'{num_processes} x {num_devices}'
    shutil.copytree(tiny_workdir, workdir)
    job = Job(workdir, tiny_data_dir, num_processes, num_devices, **options)
    codes, out, err = job.wait()
    assert codes == [0] * num_processes, err
    assert all(text == '' for text in out[1:])
    if 'length_protocol' in changes:
      name = 'captions_reference_length.jsonl'
      (workdir / name).rename(workdir / 'captions.jsonl')
    found = jobs.results(workdir)
    print(workdir.name, found['evaluation']['perplexity'])
    expected = expected or found
    jobs.assert_same_results(found, expected)


def retrieve(**changes):
  """Options for a ranking of many blocks."""
  options = {'task': 'retrieve', 'split': 'train', 'norm_images': 40}
  return options | {'rank_image_block': 1, **changes}


@pytest.mark.slow
def test_a_stopped_ranking_goes_on_with_other_processes(
  tiny_data_dir, tiny_workdir, tmp_path
):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  for workdir in (whole, parts):
    shutil.copytree(tiny_workdir, workdir)
  tasks.run(tiny_run.given(tiny_run.config(whole, tiny_data_dir, **retrieve())))
  done = 0
  for num_processes, stopped in ((2, 1), (3, 0), (1, 0)):
    job = Job(parts, tiny_data_dir, num_processes, 1, **retrieve())
    while blocks_done(parts) <= done:
      assert job.processes[0].poll() is None, job.wait()
      time.sleep(0.01)
    job.processes[stopped].send_signal(signal.SIGTERM)
    codes, _, err = job.wait()
    assert codes == [75] * num_processes, err
    assert 'stopped: the same command goes on' in err[stopped]
    assert blocks_done(parts) > done
    done = blocks_done(parts)
    print(f'{num_processes} processes: {done} of 80 blocks')
  job = Job(parts, tiny_data_dir, 2, 1, **retrieve())
  codes, _, err = job.wait()
  assert codes == [0, 0], err
  for name in (
    'retrieval_train.jsonl',
    'scores/train_images.npy',
    'scores/train_norm.npy',
  ):
    assert (parts / name).read_bytes() == (whole / name).read_bytes()


def blocks_done(workdir):
  """The blocks of both matrices that are there, an image each."""
  states = [
    workdir / f'scores/train_{name}.json' for name in ('images', 'norm')
  ]
  return sum(small_matrix.blocks_done(x, 1) for x in states)


@pytest.mark.slow
def test_what_one_process_lacks_ends_all(tiny_data_dir, tiny_workdir, tmp_path):
  workdir, other = tmp_path / 'W', tmp_path / 'other'
  shutil.copytree(tiny_workdir, workdir)
  tasks.run(tiny_run.given(tiny_run.config(other, tiny_data_dir, seed=1)))
  for flag, message in (
    (f'--workdir={other}', 'find different models'),
    (f'--data_dir={tmp_path}', 'there is no dataset'),
  ):
    job = Job(workdir, tiny_data_dir, 2, 1, others=[flag], **retrieve())
    codes, _, err = job.wait()
    assert codes == [1, 1]
    assert all(message in text for text in err)


@pytest.mark.slow
def test_own_features_are_ranked_and_captioned_together(
  tiny_data_dir, tiny_workdir, tmp_path
):
  workdir, sentences = tmp_path / 'W', tmp_path / 'sentences.txt'
  shutil.copytree(tiny_workdir, workdir)
  sentences.write_text('A dog runs .\nThe cat sits .\n')
  for task, options in {
    'rank': {'sentences': sentences, 'rank_image_block': 10},
    'caption': {},
  }.items():
    said = []
    for num_processes in (1, 2):
      job = Job(
        workdir,
        tiny_data_dir,
        num_processes,
        1,
        task=task,
        features=tiny_data_dir / 'f.npz',
        **options,
      )
      codes, out, err = job.wait()
      assert codes == [0] * num_processes, err
      assert all(text == '' for text in out[1:])
      said.append(out[0])
    assert said[0] == said[1] != ''

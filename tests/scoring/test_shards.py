import json

from etils import epath
import pytest

from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import shards
from mrnn_jax.scoring.shards import Shard, ShardFiles

SLURM = {
  'SLURM_ARRAY_TASK_ID': '3',
  'SLURM_ARRAY_TASK_COUNT': '5',
  'SLURM_ARRAY_TASK_MAX': '4',
}


@pytest.mark.parametrize(
  ('text', 'environ', 'expected'),
  [
    ('', {}, (0, 1)),
    ('', SLURM, (0, 1)),
    ('2/7', SLURM, (2, 7)),
    ('auto', SLURM, (3, 5)),
    ('auto/9', {**SLURM, 'SLURM_ARRAY_TASK_MAX': '8'}, (3, 9)),
    ('auto/4', {'JOB_COMPLETION_INDEX': '1'}, (1, 4)),
    ('auto', {'JOB_COMPLETION_INDEX': '1', 'JOB_COMPLETIONS': '2'}, (1, 2)),
  ],
)
def test_which_shard(text, environ, expected):
  assert Shard.parse(text, environ) == Shard(*expected)


@pytest.mark.parametrize(
  ('text', 'environ', 'message'),
  [
    ('3', {}, 'write i/n'),
    ('-1/2', {}, 'write i/n'),
    ('2/2', {}, 'no shard 2 of 2'),
    ('0/0', {}, 'no shard 0 of 0'),
    ('auto', {}, 'no SLURM array and no Kubernetes'),
    ('auto/3', SLURM, 'no shard 3 of 3'),
    # Two tasks alone, run again: --array=3,7.
    (
      'auto',
      {**SLURM, 'SLURM_ARRAY_TASK_COUNT': '2', 'SLURM_ARRAY_TASK_MAX': '7'},
      'is not 0-',
    ),
    ('auto', {**SLURM, 'SLURM_ARRAY_TASK_COUNT': ''}, "COUNT='' and no number"),
    ('auto', {'JOB_COMPLETION_INDEX': '0'}, 'give --shard=auto/n'),
  ],
)
def test_no_such_shard(text, environ, message):
  with pytest.raises(InputError, match=message):
    Shard.parse(text, environ)


def test_the_place_in_a_job_of_many_processes(monkeypatch):
  monkeypatch.setattr(shards.jax, 'process_index', lambda: 2)
  monkeypatch.setattr(shards.jax, 'process_count', lambda: 3)
  assert Shard.parse('', {}) == Shard(2, 3)
  assert Shard.parse('auto', SLURM) == Shard(2, 3)


@pytest.mark.parametrize('num_files', [1, 2, 3, 4, 7, 12, 13])
@pytest.mark.parametrize('count', [1, 2, 3, 8])
def test_every_block_has_one_owner_who_reads_it(num_files, count):
  shards = [Shard(i, count) for i in range(count)]
  num_blocks = 3 * count  # Of each file.
  owned, read = [0] * count, [0] * count
  for file in range(num_files):
    owners = []
    for block in range(num_blocks):
      (owner,) = (s for s in shards if s.owns(file, num_files, block))
      owners.append(owner.index)
      owned[owner.index] += 1
    readers = [s.index for s in shards if s.reads(file, num_files)]
    assert readers == sorted(set(owners))
    for reader in readers:
      read[reader] += 1
  # All have the same, and read what that lies in.
  assert set(owned) == {3 * num_files}
  if num_files % count == 0:
    assert set(read) == {num_files // count}
  assert max(read) <= -(-num_files // count) + 1


def test_files_that_do_not_share_out_evenly_are_not_read_by_all():
  # Thirds of four files: 0 and a third of 1; two thirds of 1 and of 2; ...
  read = [[f for f in range(4) if Shard(i, 3).reads(f, 4)] for i in range(3)]
  assert read == [[0, 1], [1, 2], [2, 3]]
  of_file_1 = [
    [b for b in range(6) if Shard(i, 3).owns(1, 4, b)] for i in range(3)
  ]
  assert of_file_1 == [[0, 3], [1, 2, 4, 5], []]


def shard_files(folder, index=0, count=2, **job):
  job = {'input': 'i', 'features': 'f', 'model': 'm', 'options': {}, **job}
  return ShardFiles(epath.Path(folder), Shard(index, count), '.jsonl', job)


def commit(files, bad=0):
  files.temporary_results.write_text('results')
  files.temporary_rejects.write_text('rejects')
  files.commit({'bad': bad})


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_what_is_complete(tmp_path):
  files = shard_files(tmp_path)
  assert not files.is_complete()
  assert files.num_complete() == 0
  # What a run that was killed has left.
  (tmp_path / f'.{files.results.name}.elsewhere.7').write_text('half')
  commit(files)
  files.discard()
  assert names(tmp_path) == [
    'done-00000-of-00002.json',
    'scores-00000-of-00002.jsonl',
  ]
  assert files.is_complete()
  other = shard_files(tmp_path, 1)
  assert not other.is_complete()
  commit(other, bad=3)
  other.discard()
  assert names(tmp_path)[2] == 'rejects-00001-of-00002.jsonl'
  assert files.num_complete() == 2


@pytest.mark.parametrize('damage', ['missing', 'short', 'state', 'no state'])
def test_what_is_not_complete_any_more(tmp_path, damage):
  files = shard_files(tmp_path)
  commit(files)
  if damage == 'missing':
    files.results.unlink()
  elif damage == 'short':
    files.results.write_text('res')
  elif damage == 'state':
    (tmp_path / 'done-00000-of-00002.json').write_text('{"of": 2')
  else:
    (tmp_path / 'done-00000-of-00002.json').write_text('3')
  assert not files.is_complete()


def test_shards_of_another_job_are_refused(tmp_path):
  commit(shard_files(tmp_path))
  other = shard_files(tmp_path, 1, model='n', options={'x': 1})
  with pytest.raises(InputError, match='with other model, options: give ano'):
    other.is_complete()
  with pytest.raises(InputError, match='number of shards .2.'):
    shard_files(tmp_path, 0, 3).is_complete()
  # It came into the folder while another one ran.
  with pytest.raises(InputError, match='other model, options'):
    commit(other)


def test_the_faster_of_two_runs_of_a_shard_wins(tmp_path):
  commit(shard_files(tmp_path))
  state = json.loads((tmp_path / 'done-00000-of-00002.json').read_text())
  slow = shard_files(tmp_path)
  slow.temporary_results.write_text('more results')
  slow.temporary_rejects.write_text('')
  slow.commit({'bad': 0})
  assert state['bytes'] == len('results')
  assert slow.results.read_text() == 'results'
  assert len(names(tmp_path)) == 2

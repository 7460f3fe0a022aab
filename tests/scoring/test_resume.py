"""A shard that was stopped or killed is taken up where it was."""

import json
import shutil

from etils import epath
import pytest
from scoring_jobs import names, read, run

from mrnn_jax.runtime import stopping
from mrnn_jax.scoring import finished_blocks, pair_scorer, results
from mrnn_jax.scoring.finished_blocks import Finished, FinishedBlocks

NORMALIZED = {'score_normalized': True, 'norm_images': 3}
SCORES = 'scores-00000-of-00001.jsonl'


@pytest.fixture(autouse=True)
def every_block(monkeypatch):
  """Saves each block at once."""
  monkeypatch.setattr(finished_blocks, '_SECONDS', 0.0)
  monkeypatch.setattr(finished_blocks, '_SHARE', 0.0)


@pytest.fixture
def at_block(monkeypatch):
  """Does something before a block is scored; counts those that are."""
  scored = []
  original = pair_scorer.PairScorer.word_log_probs

  def install(number=-1, action=None):
    scored.clear()

    def word_log_probs(self, *args):
      if len(scored) == number:
        action()
      scored.append(1)
      return original(self, *args)

    monkeypatch.setattr(
      pair_scorer.PairScorer, 'word_log_probs', word_log_probs
    )
    return scored

  return install


def _stop():
  raise stopping.Stopped


def contents(folder):
  return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.mark.parametrize('changes', [{}, NORMALIZED, {'word_log_probs': True}])
def test_what_is_finished_is_not_scored_again(
  folder, tmp_path, at_block, changes, capsys
):
  scored = at_block()
  run(folder, tmp_path / 'whole', **changes)
  assert len(scored) == 9  # 60 records by 7.
  at_block(5, _stop)
  with pytest.raises(stopping.Stopped):
    run(folder, tmp_path / 'stopped', **changes)
  assert not (tmp_path / 'stopped' / SCORES).exists()
  scored = at_block()
  capsys.readouterr()
  run(folder, tmp_path / 'stopped', **changes)
  assert len(scored) == 4
  assert '35 records taken up from an earlier run' in capsys.readouterr().out
  assert contents(tmp_path / 'stopped') == contents(tmp_path / 'whole')


def test_what_a_killed_run_leaves_is_taken_up_and_cleared(
  folder, tmp_path, at_block
):
  """The folder as it is in the middle of a run is what SIGKILL leaves."""
  at_block(6, lambda: shutil.copytree(tmp_path / 'whole', tmp_path / 'killed'))
  run(folder, tmp_path / 'whole')
  left = names(tmp_path / 'killed')
  assert left
  assert all(name.startswith('.') for name in left)
  scored = at_block()
  run(folder, tmp_path / 'killed')
  # The one that was on its way from the device is not known.
  assert len(scored) in (3, 4, 5)
  assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')


def test_another_job_takes_nothing_up(folder, tmp_path, at_block):
  at_block(5, _stop)
  with pytest.raises(stopping.Stopped):
    run(folder, tmp_path / 'out')
  scored = at_block()
  run(folder, tmp_path / 'out', word_log_probs=True)
  assert len(scored) == 9
  # What the first job left goes too.
  assert names(tmp_path / 'out') == ['done-00000-of-00001.json', SCORES]


def test_p_of_w_is_remembered_alike(folder, tmp_path, at_block, monkeypatch):
  """Where few sentences are remembered, they are forgotten at one place."""
  monkeypatch.setattr(results, '_REMEMBERED', 12)
  run(folder, tmp_path / 'whole', **NORMALIZED)
  at_block(4, _stop)
  with pytest.raises(stopping.Stopped):
    run(folder, tmp_path / 'out', **NORMALIZED)
  computed = []
  original = results._LogMeans.recall

  def recall(self, tokens, values):
    original(self, tokens, values)
    computed.append(len(self._known))

  monkeypatch.setattr(results._LogMeans, 'recall', recall)
  at_block()
  run(folder, tmp_path / 'out', **NORMALIZED)
  assert len(computed) == 4
  assert max(computed) <= 12
  assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_more_bad_records_may_be_allowed_later(folder, tmp_path, at_block):
  lines = (folder / 'r.jsonl').read_text().splitlines()
  lines[40] = '{}'
  path = tmp_path / 'bad.jsonl'
  path.write_text('\n'.join(lines))
  with pytest.raises(ValueError, match='line 41'):
    run(folder, tmp_path / 'out', score_input=str(path))
  scored = at_block()
  run(folder, tmp_path / 'out', score_input=str(path), max_bad_records=1)
  assert len(scored) < 5
  assert len(read(tmp_path / 'out' / SCORES)) == 59


def found(number):
  return Finished({'log_prob': [-number / 7]}, [0.5])


def test_pieces(tmp_path, monkeypatch):
  folder = epath.Path(tmp_path) / 'blocks'
  monkeypatch.setattr(finished_blocks, '_SECONDS', 1e9)
  keeper = FinishedBlocks(folder)
  assert keeper.take(0) is None
  for number in (0, 1, 2, 5, 6):
    keeper.add(number, found(number))
  keeper.close()
  assert names(folder) == ['0-2.jsonl', '5-6.jsonl']
  # Of another run at the same time, which was taken up elsewhere.
  other = FinishedBlocks(epath.Path(tmp_path) / 'other')
  for number in (1, 2, 3):
    other.add(number, found(number))
  other.close()
  shutil.copy(tmp_path / 'other/1-3.jsonl', folder)
  keeper = FinishedBlocks(folder)
  taken = [keeper.take(number) for number in range(8)]
  assert taken == [found(n) if n not in (4, 7) else None for n in range(8)]


@pytest.mark.parametrize('damage', ['cut', 'changed', 'gone', 'no text'])
def test_a_damaged_piece_is_scored_again(tmp_path, damage):
  folder = epath.Path(tmp_path)
  keeper = FinishedBlocks(folder)
  for number in range(3):
    keeper.add(number, found(number))
  path = tmp_path / '1-1.jsonl'
  keeper = FinishedBlocks(folder)
  if damage == 'cut':
    path.write_text(path.read_text()[:-4])
  elif damage == 'changed':
    path.write_text(path.read_text().replace('-0.1', '-0.2'))
  elif damage == 'gone':
    path.unlink()
  else:
    path.write_bytes(b'\xff\xfe')
  taken = [keeper.take(number) for number in range(3)]
  assert taken == [found(0), None, found(2)]


def test_little_is_held_back(tmp_path, monkeypatch):
  monkeypatch.setattr(finished_blocks, '_SECONDS', 1e9)
  monkeypatch.setattr(finished_blocks, '_MAX_PAIRS', 3)
  keeper = FinishedBlocks(epath.Path(tmp_path))
  for number in range(7):
    keeper.add(number, found(number))
  assert names(tmp_path) == ['0-2.jsonl', '3-5.jsonl']
  assert json.loads((tmp_path / '0-2.jsonl').read_text().splitlines()[1]) == {
    'columns': {'log_prob': [0.0]},
    'log_means': [0.5],
  }

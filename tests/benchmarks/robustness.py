"""What the program was put through: ``python -m tests.benchmarks.robustness``.

Each subcommand measures one thing that docs/measurements.md tells, prints it,
and exits with 1 where it is not as it should be.  ``--small`` is only to see
that all runs.
"""

import argparse
from collections.abc import Sequence
import csv
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import lengths, synthetic
from tests.benchmarks.ensemble import ensemble
from tests.benchmarks.soak import soak

_ROOT = pathlib.Path(__file__).parents[2]


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command line and return its exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.robustness', description=__doc__
  )
  subparsers = parser.add_subparsers(dest='what', required=True)

  def command(function, text: str) -> argparse.ArgumentParser:
    name = function.__name__
    added = subparsers.add_parser(name, help=text, description=text)
    added.add_argument('--small', action='store_true', help='a tiny trial')
    added.set_defaults(function=function)
    return added

  added = command(
    beam, 'Build a dataset with and without Beam: the same bytes, and memory.'
  )
  added.add_argument('--images', type=int, default=50_000)
  added.add_argument('--dim', type=int, default=synthetic.FEATURE_SIZE)
  added = command(
    bfloat16, 'Rank in bfloat16 and in float32: how much the measures differ.'
  )
  added.add_argument(
    '--workdir', default='', help='a trained run; default: a random model'
  )
  added.add_argument('--data_dir', default='', help='of its dataset')
  added.add_argument('--split', default='validation')
  added.add_argument('--images', type=int, default=300)
  added.add_argument('--norm_images', type=int, default=50)
  added = command(
    parts, 'Temporary memory of a training step by --accumulate_steps.'
  )
  added.add_argument('--batch_size', type=int, default=100)
  command(
    compile_cache, 'Seconds of compiling with an empty and a filled cache.'
  )
  added = command(soak, 'Score made-up pairs for long: memory must not grow.')
  added.add_argument('--minutes', type=float, default=30.0)
  added.add_argument('--records', type=int, default=1_000_000)
  added.add_argument('--growth_mb', type=float, default=64.0)
  added.add_argument(
    '--model_file', default='', help='default: the pretrained model'
  )
  added.add_argument(
    '--features', default='', help='a feature file; default: made up'
  )
  added = command(ensemble, 'What an ensemble of three costs beside one model.')
  added.add_argument('--images', type=int, default=100)
  args = parser.parse_args(argv)
  try:
    with tempfile.TemporaryDirectory() as folder:
      return args.function(args, pathlib.Path(folder))
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1


# Beam.


def beam(args: argparse.Namespace, folder: pathlib.Path) -> int:
  """Build the same data twice, each in a process of its own."""
  num, dim = (60, 8) if args.small else (args.images, args.dim)
  write_raw(folder, num, dim)
  found = {}
  for name, more in (('here', []), ('beam', ['--beam_runner=DirectRunner'])):
    seconds, peak = run_module(
      'data_prep.build',
      '--dataset=made_up',
      f'--captions={folder}/captions.csv',
      f'--features={folder}/features.npz',
      f'--data_dir={folder}/{name}',
      *more,
    )
    found[name] = _digests(folder / name)
    print(f'{name}: {seconds:.0f} s, at most {peak / 2**20:,.0f} MiB')
  same = found['here'] == found['beam']
  print(
    f'{num:,} images x {dim:,}: {len(found["here"])} files, '
    + ('the same bytes' if same else 'OTHER BYTES')
  )
  return 0 if same else 1


def write_raw(folder: pathlib.Path, num: int, dim: int) -> None:
  """Write captions and features of made-up images."""
  rng = np.random.default_rng(0)
  texts = synthetic.sentences(2 * num, 11.0, 2000, rng)
  ids = [f'{i:06}.jpg' for i in range(num)]
  splits = ['validation', 'test', *['train'] * 8]
  with (folder / 'captions.csv').open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['image_id', 'caption', 'split'])
    writer.writerows(
      (ids[i // 2], text, splits[i // 2 % 10]) for i, text in enumerate(texts)
    )
  # In pieces: all of it in float32 would be twice as large.
  features = np.empty((num, dim), np.float16)
  for i in range(0, num, 1000):
    part = rng.standard_normal((min(1000, num - i), dim), np.float32)
    features[i : i + 1000] = np.maximum(part, 0)
  np.savez(folder / 'features.npz', ids=np.asarray(ids), features=features)


def _digests(folder: pathlib.Path) -> dict[str, str]:
  """Return a hash of every file below a folder."""
  found = {}
  for path in sorted(folder.rglob('*')):
    if path.is_file():
      with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
      found[str(path.relative_to(folder))] = digest
  return found


# Ranking in bfloat16.


def bfloat16(args: argparse.Namespace, folder: pathlib.Path) -> int:
  """Measure retrieval by both types of operands."""
  del folder
  # Late, as for all of JAX: the other commands measure children.
  from mrnn_jax.evaluation import scores as scores_lib
  from mrnn_jax.evaluation.tally import Tally

  ranker, sentences, features, drawn, owner = _to_rank(args)
  found = {}
  for dtype in ('float32', 'bfloat16'):
    rank = ranker(dtype)
    log_probs = rank.log_probs(sentences, features)
    scores = scores_lib.LogProbabilities(
      owner,
      scores_lib.true_of_matrix(log_probs, owner),
      np.asarray([len(x) - 1 for x in sentences]),
      rank.log_probs(sentences, drawn),
    )
    tally = Tally(scores).add_all(scores_lib.of_matrix(log_probs))
    found[dtype] = log_probs, tally.measures()
  names = ('r@1', 'r@5', 'r@10', 'median_rank')
  for direction in ('image_to_text', 'text_to_image'):
    for dtype, (_, measured) in found.items():
      cells = ', '.join(f'{x} {measured[direction][x]:.1f}' for x in names)
      print(f'{direction} {dtype}: {cells}')
  exact, rounded = (log_probs for log_probs, _ in found.values())
  gap = np.abs(exact - rounded)
  print(
    f'{len(features):,} images x {len(sentences):,} sentences: log P differs '
    f'by {np.median(gap):.4f} (median), {gap.max():.4f} (most)'
  )
  # Operands keep 8 bits, and the errors of a dozen words add up.
  return 0 if (gap <= 0.02 * np.abs(exact) + 0.1).all() else 1


def _to_rank(args: argparse.Namespace):
  """Return what makes rankers, sentences, features, those for P(w), owners."""
  from mrnn_jax import models
  from mrnn_jax.data import datasets
  from mrnn_jax.ranking.ranker import Ranker
  from tests.benchmarks import weights

  if args.workdir:
    from mrnn_jax.evaluation import evaluate
    from mrnn_jax.trained import TrainedModel

    model = TrainedModel.load(args.workdir)
    config = model.config.replace(split=args.split)
    data_dir = args.data_dir or config.data_dir
    dataset = datasets.open_dataset(config.dataset, data_dir)
    model.check_dataset(dataset)
    split = evaluate.load_split(model, dataset, config, False)
    num = min(args.images, len(split.image_ids))
    owner = split.owner[split.owner < num]
    return (
      lambda dtype: model.ranker(dtype=dtype),
      [split.caption_tokens(c) for c in range(len(owner))],
      split.features[np.arange(num)],
      model.drawn_features(model.num_norm_images(args.norm_images)),
      owner,
    )
  V, D = (50, 8) if args.small else (lengths.VOCAB_SIZE, lengths.FEATURE_SIZE)
  num, num_norm = (6, 3) if args.small else (args.images, args.norm_images)
  each = lengths.CAPTIONS_PER_IMAGE
  random = weights.random_weights(V, D)
  variables = {'params': random.params, 'statistics': random.statistics}
  features = lengths.features(num + num_norm, D)
  return (
    lambda dtype: Ranker(models.MRNN(V, D), variables, dtype=dtype),
    [x.tolist() for x in lengths.test_pool(num * each, V)],
    features[:num],
    features[num:],
    np.arange(num * each) // each,
  )


# Parts of a batch.


def parts(args: argparse.Namespace, folder: pathlib.Path) -> int:
  """Ask XLA how much memory a step of the longest rows needs."""
  del folder
  import jax

  from mrnn_jax import config as config_lib
  from mrnn_jax import models
  from mrnn_jax.data import image_features
  from mrnn_jax.runtime import parallel
  from mrnn_jax.training import optimizers, step
  from mrnn_jax.training.objectives import OBJECTIVES
  from tests.benchmarks import train

  sizes = train.SIZES['tiny' if args.small else 'small']
  V, D = sizes['vocab_size'], sizes['feature_size']
  batch_size = 32 if args.small else args.batch_size
  split, _ = train.make_split(sizes['num_captions'], V, D)
  devices = parallel.local_devices(1)
  numbers = (1, 2, 4, 8)
  config = config_lib.Config(batch_size=batch_size)
  batches = train.plan(split, batch_size, max(numbers))
  longest = max(
    range(batches.steps_per_epoch), key=lambda i: batches.plan(0)[i][0]
  )
  batch = batches.batch(longest)
  del batch['captions']
  model = models.create_model(config.model, V, D, config.fixed())
  schedule = optimizers.create_schedule(config, batches.steps_per_epoch)
  optimizer = optimizers.create_optimizer(config, schedule)
  variables = models.init_variables(model, jax.random.key(0))
  state = step.create_state(variables, optimizer, jax.random.key(1))
  statistics = image_features.feature_statistics(split.features)
  found = []
  for number in numbers:
    step_fn = step.compile_train_step(
      devices,
      model=model,
      objective=OBJECTIVES['likelihood'],
      optimizer=optimizer,
      words_per_batch=batches.words_per_batch,
      l2=config.l2,
      accumulate_steps=number,
    )
    compiled = step_fn.lower(
      parallel.replicate(state, devices),
      parallel.replicate(statistics, devices),
      parallel.split_rows(batch, 1),
    ).compile()
    found.append(compiled.memory_analysis().temp_size_in_bytes / 1e6)
    print(f'--accumulate_steps={number}: {found[-1]:,.2f} MB', flush=True)
  print(
    f'temporary memory, {batch_size} captions a step, rows of '
    f'{batch["tokens"].shape[1]}, V {V:,}, D {D:,}'
  )
  return 0 if found == sorted(found, reverse=True) else 1


# The compile cache.


def compile_cache(args: argparse.Namespace, folder: pathlib.Path) -> int:
  """Train a few steps twice, the second time with what was compiled."""
  write_raw(folder, 60 if args.small else 2000, 8 if args.small else 1280)
  run_module(
    'data_prep.build',
    '--dataset=made_up',
    f'--captions={folder}/captions.csv',
    f'--features={folder}/features.npz',
    f'--data_dir={folder}/data',
  )
  found = []
  for name in ('empty', 'filled'):
    workdir = folder / name
    run_module(
      'mrnn_jax.main',
      '--task=train',
      '--dataset=made_up',
      f'--data_dir={folder}/data',
      f'--workdir={workdir}',
      '--min_word_count=1',
      '--num_epochs=0.1',
      XDG_CACHE_HOME=str(folder / 'cache'),
    )
    (entry,) = json.loads((workdir / 'summary.json').read_text())
    found.append(entry['seconds']['compile'])
    print(f'{name} cache: {found[-1]:.2f} s until the first steps are taken')
  print(f'{found[0] / found[1]:.1f} times sooner')
  return 0 if found[1] < found[0] else 1


def run_module(module: str, *flags: str, **environ: str) -> tuple[float, int]:
  """Run a command; return its seconds and the most memory it had, in bytes.

  Raises:
    InputError: it fails; its last words are given.
  """
  begin = time.monotonic()
  with tempfile.TemporaryFile('w+') as said:
    process = subprocess.Popen(
      [sys.executable, '-m', module, *flags],
      cwd=_ROOT,
      env={**os.environ, **environ},
      stdout=said,
      stderr=said,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      said.seek(0)
      lines = said.read().splitlines()[-1:] or ['it said nothing']
      raise InputError(f'python -m {module} failed: {lines[0]}')
  return time.monotonic() - begin, usage.ru_maxrss * 1024


if __name__ == '__main__':
  sys.exit(main())

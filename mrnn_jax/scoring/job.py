"""Batch scoring (``--task=score``): log P(sentence | image) of files of pairs.

Three stages run at the same time, each a window ahead of the next: a thread
reads, tokenises and finds out what pairs share; another has the device work;
the main one writes.  Memory is bounded by the window, whatever the input.

Each record comes out as it went in, and with

  log_prob          log P(w|I), natural logarithm (section 4)
  perplexity        2^(-1/L log2 P(w|I))
  words             L: the sentence's words and ``##END##``
  oov               how many of its words the model does not know
  score_normalized  log P(w|I) - log P(w) (section 6), if asked for
  word_log_probs    the L logarithms that add up to log_prob, if asked for

each a list where the record has a list of sentences.
"""

from collections.abc import Generator, Iterable, Iterator
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import shlex
from typing import Any, TypeVar

from etils import epath

from mrnn_jax.config import Config
from mrnn_jax.ranking.ranker import tile_rows_on
from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import InputError, printable
from mrnn_jax.runtime.progress import Progress, say
from mrnn_jax.scoring import records, results
from mrnn_jax.scoring.finished_blocks import Finished, FinishedBlocks
from mrnn_jax.scoring.images import ImageLookup
from mrnn_jax.scoring.inputs import Inputs
from mrnn_jax.scoring.pair_scorer import PairScorer
from mrnn_jax.scoring.shards import SHARING, Shard, ShardFiles
from mrnn_jax.scoring.windows import Window, WindowMaker
from mrnn_jax.trained import TrainedModel

T = TypeVar('T')

# Bad records that the message names.
_NAMED = 3


def check_flags(config: Config) -> None:
  """Raise InputError where it is not said what to score, and where to write."""
  lacking = [
    text
    for text, there in (
      ('--score_input=FILES', config.score_input or config.merge),
      ('--output=FOLDER', config.output not in ('', '-')),
    )
    if not there
  ]
  if lacking:
    raise InputError(f'--task=score wants {" and ".join(lacking)}.')


def score(
  model: TrainedModel, config: Config, scorer: PairScorer | None = None
) -> None:
  """Score the records of a shard into ``--output``, or find it done.

  Args:
    model: the model.
    config: what to score, and how.
    scorer: of the model, where one is compiled (``make_scorer``).

  Raises:
    InputError: something is missing or of another kind, a file cannot be read,
      or more records are bad than may be.
  """
  check_flags(config)
  folder = epath.Path(config.output).expanduser()
  if folder.exists() and not folder.is_dir():
    raise InputError(f'{folder} is a file: --output wants a folder.')
  job = _Job(model, config)
  files = ShardFiles(folder, job.shard, job.suffix, job.identity())
  if files.is_complete():
    print(f'{files.results} is complete: not computed again')
  else:
    folder.mkdir(parents=True, exist_ok=True)
    try:
      counts = job.run(files, scorer)
    finally:
      files.discard()
    print(
      f'wrote {files.results}: {messages.counted(counts["records"], "record")},'
      f' {messages.counted(counts["pairs"], "pair")}, {counts["bad"]:,} bad'
    )
  tell_complete(files.num_complete(), job.shard.count, config.output)


def tell_complete(complete: int, count: int, output: str) -> None:
  """Tell how many shards are complete, and what comes next."""
  shards = messages.counted(count, 'shard')
  print(f'{complete} of {shards} {"is" if complete == 1 else "are"} complete')
  if complete == count > 1:
    flag = shlex.quote(f'--output={output}')
    print(
      f'Next: python -m mrnn_jax.main --task=score --merge {flag}   '
      '# one file, in the order of the input'
    )


def make_scorer(model: TrainedModel, config: Config) -> PairScorer:
  """Return what scores pairs as a configuration says, to be compiled once."""
  return PairScorer(
    model.model,
    model.variables,
    model.devices,
    config.rank_tile_rows,
    _operand_dtype(config),
  )


def _operand_dtype(config: Config) -> str:
  """One type for all: of these numbers some are subtracted from others."""
  return 'float32' if config.rank_dtype == 'auto' else config.rank_dtype


@dataclasses.dataclass(frozen=True)
class _Step:
  """A block under way.

  Attributes:
    number: among those of the shard.
    place: numbers of the file, and of the block in it.
    window: made of it.
    kept: what an earlier run has found of it.
  """

  number: int
  place: tuple[int, int]
  window: Window
  kept: Finished | None


class _Job:
  """The scoring of one shard.

  Attributes:
    shard: which.
    suffix: of the file of results.
  """

  def __init__(self, model: TrainedModel, config: Config):
    """Look at the input and open the features."""
    self.shard = Shard.parse(config.shard)
    self._model, self._config = model, config
    self._fields = results.fields(config)
    self._dtype = _operand_dtype(config)
    self._drawn = None
    if config.score_normalized:
      model.check_ranks()
      K = model.num_norm_images(config.norm_images)
      if not K:
        raise InputError(
          '--score_normalized estimates P(w) from training images, and '
          f'--norm_images={config.norm_images} or the model gives none. An '
          'ensemble gets them where its dataset is: write it to one file by '
          '--task=export.'
        )
      self._drawn = model.drawn_features(K)
    self._inputs = Inputs(config.score_input, self._fields)
    self.suffix = self._inputs.suffix
    self._images = ImageLookup.open(model, config)

  def identity(self) -> dict[str, Any]:
    """Return what the results depend on, as JSON values."""
    config = self._config
    words = json.dumps(self._model.vocabulary.words)
    options = {
      'fields': self._fields,
      'score_block': config.score_block,
      'sharing': SHARING,
      'rank_tile_rows': tile_rows_on(
        config.rank_tile_rows, self._model.devices
      ),
      'dtype': self._dtype,
    }
    if self._drawn is not None:
      options['norm_images'] = len(self._drawn)
      options['rank_image_block'] = config.rank_image_block
      options['norm_features'] = _hash(self._drawn.tobytes())
    return {
      'input': self._inputs.identity(),
      'features': self._images.identity,
      'model': _hash(self._model.identity().encode() + words.encode()),
      'options': options,
    }

  def run(
    self, files: ShardFiles, scorer: PairScorer | None = None
  ) -> dict[str, int]:
    """Score the shard; its files appear when all is done.

    Args:
      files: its own.
      scorer: see ``score``.

    Returns:
      Numbers of 'records' and 'pairs' scored, and of 'bad' records.
    """
    counts = {'records': 0, 'pairs': 0, 'bad': 0}
    first_bad: list[str] = []
    # File, block, records and bad ones of each block.
    sizes: list[tuple[int, int, int, int]] = []
    taken_up, told = 0, False
    scorer = scorer or make_scorer(self._model, self._config)
    maker = WindowMaker(self._model.vocabulary, self._images, scorer)
    found = results.PairResults(
      self._model, self._config, scorer, self._drawn, self._dtype
    )
    keeper = FinishedBlocks(files.finished)

    def prepare() -> Iterator[_Step]:
      blocks = self._inputs.blocks(self.shard, self._config.score_block)
      for number, (path, block) in enumerate(blocks):
        kept = keeper.take(number)
        window = maker.make(path, block, scored=kept is not None)
        place = self._inputs.number_of(path), block.number
        yield _Step(number, place, window, kept)

    prepared = ahead(prepare())
    scored = ahead(
      (step, found.of(step.window, step.kept)) for step in prepared
    )
    num_bytes = self._inputs.num_bytes(self.shard)
    create, packed = records.create, self._inputs.packed
    with (
      contextlib.closing(prepared),
      contextlib.closing(scored),
      create(files.temporary_results, packed) as written,
      create(files.temporary_rejects, packed=False) as rejects,
      contextlib.closing(self._inputs.writer(written)) as writer,
      Progress('scoring', 'records') as progress,
      contextlib.closing(keeper),
    ):
      for step, finished in scored:
        window = step.window
        if step.kept is None:
          keeper.add(step.number, finished)
        for line in window.bad:
          rejects.write(json.dumps(line).encode() + b'\n')
          if len(first_bad) < _NAMED:
            first_bad.append('{file}, line {line} {reason}'.format(**line))
        counts['bad'] += len(window.bad)
        if counts['bad'] > self._config.max_bad_records:
          raise InputError(
            'more records are bad than --max_bad_records='
            f'{self._config.max_bad_records}: {printable("; ".join(first_bad))}'
            ': correct them, or allow more.'
          )
        writer.write(
          [record.row for record in window.records],
          results.by_record(window.records, finished.columns),
        )
        counts['records'] += len(window.records)
        counts['pairs'] += len(window.pairs)
        sizes.append((*step.place, len(window.records), len(window.bad)))
        if step.kept is not None:
          taken_up += len(window.records) + len(window.bad)
          continue
        if taken_up and not told:
          said = messages.counted(taken_up, 'record')
          say(f'{said} taken up from an earlier run.')
        told = True
        progress(
          counts['records'] + counts['bad'],
          share=window.position / num_bytes,
          note=f'{counts["bad"]:,} bad',
        )
    files.commit(counts, sizes)
    return counts


def ahead(items: Iterable[T]) -> Generator[T]:
  """Yield items, the next of which a thread makes in the meantime."""
  items = iter(items)
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    future = pool.submit(next, items, None)
    while (item := future.result()) is not None:
      future = pool.submit(next, items, None)
      yield item


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()

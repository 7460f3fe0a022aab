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

from collections.abc import Iterable, Iterator, Sequence
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import sys
import time
from typing import Any, TypeVar

from etils import epath
import numpy as np

from mrnn_jax.config import Config
from mrnn_jax.data.vocabulary import UNK, tokenize
from mrnn_jax.runtime.errors import InputError, printable
from mrnn_jax.runtime.progress import format_seconds
from mrnn_jax.scoring import records
from mrnn_jax.scoring.images import ImageLookup
from mrnn_jax.scoring.inputs import Inputs
from mrnn_jax.scoring.pair_scorer import PairPlan, PairScorer
from mrnn_jax.scoring.records import BadRecord, Block, Record
from mrnn_jax.scoring.shards import Shard, ShardFiles
from mrnn_jax.trained import TrainedModel

T = TypeVar('T')

# A longer sentence is none: the language path goes word by word.
MAX_WORDS = 1000
# Decimals written: all that single precision gives.
_DECIMALS = 6
# Sentences whose P(w) is remembered.
_REMEMBERED = 1 << 17
# Bad records that the message names.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Window:
  """A block of records, made ready for the device.

  Attributes:
    records: those that can be scored.
    bad: those that cannot.
    position: bytes of the shard's input that were read up to here.
    tokens: [S] the distinct sentences as word ids.
    pairs: [pairs, 2] sentence and image of every sentence of every record.
    features: [N, D] raw features of the distinct images.
    plans: of the pairs.
  """

  records: Sequence[Record]
  bad: Sequence[dict[str, Any]]
  position: int
  tokens: Sequence[Sequence[int]]
  pairs: np.ndarray
  features: np.ndarray
  plans: Sequence[PairPlan]


def check_flags(config: Config) -> None:
  """Raise InputError where it is not said what to score, and where to write."""
  if not config.score_input or config.output in ('', '-'):
    raise InputError(
      '--task=score wants --score_input=FILES and --output=FOLDER.'
    )


def score(model: TrainedModel, config: Config) -> None:
  """Score the records of a shard into ``--output``, or find it done.

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
      counts = job.run(files)
    finally:
      files.discard()
    print(
      f'wrote {files.results}: {counts["records"]:,} records, '
      f'{counts["pairs"]:,} pairs, {counts["bad"]:,} bad'
    )
  print(f'{files.num_complete()} of {job.shard.count} shards are complete')


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
    self._fields = ['log_prob', 'perplexity', 'words', 'oov']
    self._drawn = None
    if config.score_normalized:
      self._fields.append('score_normalized')
      model.check_ranks()
      K = min(config.norm_images, len(model.norm_features))
      if not K:
        raise InputError(
          '--score_normalized estimates P(w) from training images, and '
          f'--norm_images={config.norm_images} or the model gives none.'
        )
      self._drawn = model.drawn_features(K)
    if config.word_log_probs:
      self._fields.append('word_log_probs')
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
      'rank_tile_rows': config.rank_tile_rows,
    }
    if self._drawn is not None:
      options['norm_images'] = len(self._drawn)
      options['rank_image_block'] = config.rank_image_block
      options['rank_dtype'] = config.rank_dtype
      options['norm_features'] = _hash(self._drawn.tobytes())
    return {
      'input': self._inputs.identity(),
      'features': self._images.identity,
      'model': _hash(self._model.identity().encode() + words.encode()),
      'options': options,
    }

  def run(self, files: ShardFiles) -> dict[str, int]:
    """Score the shard; its files appear when all is done.

    Returns:
      Numbers of 'records' and 'pairs' scored, and of 'bad' records.
    """
    counts = {'records': 0, 'pairs': 0, 'bad': 0}
    first_bad: list[str] = []
    scorer = PairScorer(
      self._model.model,
      self._model.variables,
      self._model.devices,
      self._config.rank_tile_rows,
    )
    blocks = self._inputs.blocks(self.shard, self._config.score_block)
    prepared = ahead(self._prepare(*block, scorer) for block in blocks)
    scored = ahead(self._score(prepared, scorer))
    progress = _Progress(self._inputs.num_bytes(self.shard))
    create, packed = records.create, self._inputs.packed
    with (
      contextlib.closing(prepared),
      contextlib.closing(scored),
      create(files.temporary_results, packed) as results,
      create(files.temporary_rejects, packed=False) as rejects,
      contextlib.closing(self._inputs.writer(results)) as writer,
    ):
      for window, columns in scored:
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
          _results(window.records, columns),
        )
        counts['records'] += len(window.records)
        counts['pairs'] += len(window.pairs)
        progress(counts, window.position)
    files.commit(counts)
    return counts

  def _prepare(
    self, path: epath.Path, block: Block, scorer: PairScorer
  ) -> Window:
    """Tokenise a block, look its images up, and plan its scoring."""
    records, bad, pairs = [], [], []
    images: dict[str, int] = {}
    features: list[np.ndarray] = []
    sentences: dict[str, int] = {}
    numbers: dict[tuple[int, ...], int] = {}

    def reason(record: Record | BadRecord) -> str | None:
      """Take a record in, or say why it cannot be."""
      if isinstance(record, BadRecord):
        return record.reason
      if record.image_id not in images:
        try:
          feature = self._images.get(record.image_id)
        except KeyError:
          return f'names {record.image_id[:80]!r}, which has no feature'
        if not np.isfinite(feature).all():
          return f'names {record.image_id[:80]!r}, whose feature is not finite'
        images[record.image_id] = len(features)
        features.append(feature)
      image = images[record.image_id]
      here = []
      for text in record.sentences:
        if text not in sentences:
          words = tokenize(text)
          if not words:
            return f'has {text[:80]!r}, which has no word'
          if len(words) > MAX_WORDS:
            return f'has a sentence of more than {MAX_WORDS:,} words'
          ids = tuple(self._model.vocabulary.encode_caption(text))
          sentences[text] = numbers.setdefault(ids, len(numbers))
        here.append((sentences[text], image))
      records.append(record)
      pairs.extend(here)
      return None

    for record in block.records:
      why = reason(record)
      if why is not None:
        bad.append({'file': str(path), 'line': record.line, 'reason': why})
    tokens = list(numbers)
    chosen = np.asarray(pairs, np.int64).reshape(-1, 2)
    return Window(
      records=records,
      bad=bad,
      position=block.position,
      tokens=tokens,
      pairs=chosen,
      features=np.asarray(features, np.float32),
      plans=scorer.plan(tokens, chosen) if pairs else [],
    )

  def _score(
    self, windows: Iterable[Window], scorer: PairScorer
  ) -> Iterator[tuple[Window, dict[str, list[Any]]]]:
    """Yield windows and, by name, the results of their pairs."""
    log_mean = None
    if self._drawn is not None:
      log_mean = _LogMeans(self._model, self._drawn, self._config)
    for window in windows:
      if not len(window.pairs):
        yield window, {name: [] for name in self._fields}
        continue
      values = scorer.word_log_probs(window.plans, window.features)
      if not np.isfinite(values).all():
        raise InputError(
          'the model gives log-probabilities that are not finite: it is '
          'damaged, or has diverged in training.'
        )
      values = values.astype(np.float64)
      lengths = np.asarray([len(ids) - 1 for ids in window.tokens])
      unknown = np.asarray([ids.count(UNK) for ids in window.tokens])
      words = lengths[window.pairs[:, 0]]
      first = np.cumsum(words) - words
      log_probs = np.add.reduceat(values, first)
      columns = {
        'log_prob': _rounded(log_probs),
        # Beyond e^700 there is no number for it.
        'perplexity': _rounded(np.exp(np.minimum(-log_probs / words, 700))),
        'words': words.tolist(),
        'oov': unknown[window.pairs[:, 0]].tolist(),
      }
      if log_mean is not None:
        score = log_probs - log_mean(window.tokens)[window.pairs[:, 0]]
        columns['score_normalized'] = _rounded(score)
      if self._config.word_log_probs:
        each = np.split(values, first[1:])
        columns['word_log_probs'] = list(map(_rounded, each))
      yield window, columns


class _LogMeans:
  """log P(w) of sentences, remembered for those that come again."""

  def __init__(self, model: TrainedModel, drawn: np.ndarray, config: Config):
    self._ranker = model.ranker(
      config.rank_image_block, config.rank_tile_rows, config.rank_dtype
    )
    self._drawn = drawn
    self._known: dict[Sequence[int], float] = {}

  def __call__(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """Return log P(w) [S] of sentences of word ids (section 6)."""
    if len(self._known) + len(tokens) > _REMEMBERED:
      self._known.clear()
    new = [ids for ids in tokens if ids not in self._known]
    if new:
      found = self._ranker.log_mean_probs(new, self._drawn)
      self._known.update(zip(new, found.tolist(), strict=True))
    return np.asarray([self._known[ids] for ids in tokens])


class _Progress:
  """Tells how far the shard is, by the bytes of its files."""

  def __init__(self, total: int, every: float = 10.0):
    self._total, self._every = total, every
    self._last = time.monotonic()
    self._first: tuple[float, int, int] | None = None

  def __call__(self, counts: dict[str, int], position: int) -> None:
    """Take in that so much is written, from so many bytes."""
    now = time.monotonic()
    done = counts['records'] + counts['bad']
    if self._first is None:  # The rate does not count the compiling.
      self._first = now, done, position
    if now - self._last < self._every:
      return
    self._last = now
    then, done_then, position_then = self._first
    text = f'scoring: {done:,} records, {100 * position / self._total:.0f}%'
    if done > done_then and position > position_then:
      seconds = now - then
      left = (self._total - position) / (position - position_then) * seconds
      text += (
        f', {(done - done_then) / seconds:,.0f} records/s, '
        f'{format_seconds(left)} left'
      )
    print(f'{text}, {counts["bad"]:,} bad', file=sys.stderr, flush=True)


def ahead(items: Iterable[T]) -> Iterator[T]:
  """Yield items, the next of which a thread makes in the meantime."""
  items = iter(items)
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    future = pool.submit(next, items, None)
    while (item := future.result()) is not None:
      future = pool.submit(next, items, None)
      yield item


def _results(
  records: Sequence[Record], columns: dict[str, list[Any]]
) -> list[dict[str, Any]]:
  """Deal the results of pairs out to the records that they are of."""
  places = itertools.accumulate(len(x.sentences) for x in records)
  results = []
  for record, stop in zip(records, places, strict=True):
    start = stop - len(record.sentences)
    results.append(
      {
        name: values[start] if record.single else values[start:stop]
        for name, values in columns.items()
      }
    )
  return results


def _rounded(values: np.ndarray) -> list[float]:
  return [round(value, _DECIMALS) for value in values.tolist()]


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()

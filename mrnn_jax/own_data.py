"""One's own photos and sentences: captions and rankings without a dataset."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import sys
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.config import Config
from mrnn_jax.data.vocabulary import UNK, tokenize
from mrnn_jax.evaluation import captions
from mrnn_jax.ranking.best_items import Ranking
from mrnn_jax.runtime import files, messages, parallel
from mrnn_jax.runtime.errors import InputError, printable
from mrnn_jax.runtime.progress import Progress
from mrnn_jax.trained import TrainedModel


def given(config: Config) -> bool:
  """Return whether the task is to be done on one's own photos or features."""
  named = bool(config.photos or config.features)
  return named and config.task in ('caption', 'rank')


def caption(model: TrainedModel, config: Config) -> None:
  """Caption one's own photos: a table, or JSON lines into ``--output``."""
  image_ids, features, unreadable = load_images(model, config)
  lines = captions.caption_lines(
    model, image_ids, features, config, config.prefix
  )
  _give(config, model, image_ids, lines, _caption_table)
  strange = sum(line.get('unfamiliar', False) for line in lines)
  if strange and parallel.is_first():
    print(
      f'note: {strange:,} of {len(lines):,} images are unlike those that the '
      'model was trained on (marked by ? in the table): do not trust their '
      'captions.',
      file=sys.stderr,
    )
  _tell_count(config, 'captioned', len(image_ids), unreadable)


def rank(model: TrainedModel, config: Config) -> None:
  """Rank one's own photos and sentences both ways.

  Of S sentences and N images only the best of each are kept, and features that
  are on disk stay there: memory grows with N and S, not with N x S or N x D.

  Raises:
    InputError: the model cannot rank, or photos or sentences cannot be read.
  """
  model.check_ranks()
  sentences = read_sentences(config.sentences)
  _tell_unknown(model, sentences, config.sentences)
  image_ids, features, unreadable = load_images(model, config)
  K = model.num_norm_images(config.norm_images)
  with Progress('ranking', '') as progress:
    ranking = model.rank(
      features,
      sentences,
      config.top,
      K,
      progress,
      everywhere=True,
      ranker=model.ranker(
        config.rank_image_block,
        config.rank_tile_rows,
        config.rank_dtype,
        config.fused_readout,
      ),
    )
  lines = _ranking_lines(image_ids, sentences, ranking)
  names = 'log P(w|I)/P(w)' if K else '-log PPL', 'log P(w|I)'
  if not model.writes:
    names = 'cosine', 'cosine'
  table = functools.partial(_ranking_table, names=names)
  _give(config, model, image_ids, lines, table)
  _tell_count(config, 'ranked', len(image_ids), unreadable)


def _tell_count(
  config: Config,
  done: str,
  count: int,
  unreadable: Sequence[tuple[str, str]],
) -> None:
  """Tell on stderr with how many photos what was done, and why not with all."""
  if not config.photos or not parallel.is_first():
    return
  told = messages.of_all(count, count + len(unreadable), 'photo', done)
  if unreadable:
    from mrnn_jax.encoders import photos

    told += f'; not: {photos.reasons(unreadable)}'
  print(told, file=sys.stderr)


def _tell_unknown(
  model: TrainedModel, sentences: Sequence[str], path: str
) -> None:
  """Tell on stderr which words of sentences the model does not know."""
  words = [word for text in sentences for word in tokenize(text)]
  ids = model.vocabulary.encode(words)
  unknown = [w for w, i in zip(words, ids, strict=True) if i == UNK]
  if unknown and parallel.is_first():
    print(
      f'note: the model does not know {len(unknown):,} of the '
      f'{messages.counted(len(words), "word")} in {path} '
      f'({messages.listed(dict.fromkeys(unknown))}): they count as one '
      'unknown word.',
      file=sys.stderr,
    )


def _ranking_lines(
  image_ids: Sequence[str], sentences: Sequence[str], ranking: Ranking
) -> Iterator[dict[str, Any]]:
  """Yield the best of each image, then of each sentence."""
  for image_id, items, scores in zip(
    image_ids, ranking.sentences, ranking.sentence_scores, strict=True
  ):
    yield {
      'query': 'image',
      'image_id': image_id,
      'top': [
        {'caption': sentences[s], 'score': float(score)}
        for s, score in zip(items, scores, strict=True)
      ],
    }
  for sentence, items, scores in zip(
    sentences, ranking.images, ranking.image_scores, strict=True
  ):
    yield {
      'query': 'sentence',
      'caption': sentence,
      'top': [
        {'image_id': image_ids[i], 'score': float(score)}
        for i, score in zip(items, scores, strict=True)
      ],
    }


def load_images(
  model: TrainedModel, config: Config
) -> tuple[list[str], np.ndarray, list[tuple[str, str]]]:
  """Return the names of the images and their features [N, D].

  And name and reason of each photo that cannot be read.

  Features of a ``.npy`` file, or of one piece of an ``.h5``, stay on disk; of
  other files they are read into memory, once.

  Raises:
    InputError: none can be read, or the features are of another kind than the
      model's.
  """
  if config.features:
    # Here, as photos are not everybody's way to images.
    from mrnn_jax.data import feature_files as features_lib

    table = features_lib.load(config.features)
    table.declare_encoder(config.encoder, config.features)
    model.check_encoder(vars(table.encoder), config.features)
    # Not by ``get``, which copies: the rows are the ids'.
    with np.errstate(over='ignore'):
      features = table.features.astype(table.dtype, copy=False)
    return table.ids, model.check_features(features), []
  encoded = model.encode_all(config.photos, config.encoder_weights)
  features = model.check_features(encoded.features)
  return encoded.ids, features, encoded.unreadable


def read_sentences(path: epath.PathLike) -> list[str]:
  """Read sentences, one a line; blank lines are left out.

  Raises:
    InputError: the file cannot be read, is empty, or a line has no word.
  """
  try:
    lines = epath.Path(path).expanduser().read_text().splitlines()
  except FileNotFoundError as error:
    raise InputError(f'there is no {path}: correct --sentences.') from error
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(
      f'{path} cannot be read as text: --sentences wants one sentence a line.'
    ) from error
  for number, line in enumerate(lines, 1):
    if line.strip() and not tokenize(line):
      raise InputError(f'{path}, line {number}: {line!r} has no word.')
  sentences = [line.strip() for line in lines if line.strip()]
  if not sentences:
    raise InputError(f'{path} has no sentence: write one a line.')
  return sentences


def _give(
  config: Config,
  model: TrainedModel,
  image_ids: Sequence[str],
  lines: Iterable[Mapping[str, Any]],
  table: Callable[[Iterable[Mapping[str, Any]]], Iterable[str]],
) -> None:
  """Print a table of the lines, or write them to where ``--output`` says.

  As a page, if that ends in ``.html``, else as JSON lines.  The first process
  does; lines are made as they are needed.
  """
  if not parallel.is_first():
    return
  from mrnn_jax.reports import own_page  # Not everybody's way to look at it.

  if not config.output:
    for text in table(lines):
      print(text)
  elif config.output == '-':
    for line in lines:
      print(files.json_lines([line]), end='')
  elif own_page.is_page(config.output):
    path = own_page.write(
      config.output, image_ids, list(lines), _paths(config), model.calibration
    )
    print(f'wrote {path} ({path.stat().length / 2**20:.1f} MB)')
  else:
    files.write_json_lines(epath.Path(config.output).expanduser(), lines)
    print(f'wrote {config.output}')


def _paths(config: Config) -> dict[str, str]:
  """Return the file of each photo by its name; {} for features."""
  if not config.photos:
    return {}
  from mrnn_jax.encoders import photos  # Not everybody's way to images.

  return {photo.id: photo.path for photo in photos.find_all(config.photos)}


def _caption_table(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
  lines = list(items)
  names = [printable(line['image_id']) for line in lines]
  width = max(map(len, names))
  sure = 'sure  ' if 'confidence' in lines[0] else ''
  yield f'{"":{width}}   log P    PPL  {sure}caption'
  for name, line in zip(names, lines, strict=True):
    unfamiliar = line.get('unfamiliar', False)
    for hypothesis in line.get('nbest', [line]):
      if sure:
        mark = '?' if unfamiliar else ' '
        sure = f'{hypothesis["confidence"]:4.0%}{mark} '
      yield (
        f'{name:{width}}  {hypothesis["log_prob"]:6.2f}  '
        f'{min(hypothesis["perplexity"], 9999):5.2f}  {sure}'
        f'{hypothesis["caption"]}{" ..." if hypothesis["cut"] else ""}'
      )
      name = ''


def _ranking_table(
  lines: Iterable[Mapping[str, Any]], names: tuple[str, str]
) -> Iterator[str]:
  """Yield the lines of a table.

  Args:
    lines: of the ranking.
    names: what sentences and images are ranked by.
  """
  yield f'Sentences for each image, by {names[0]}:'
  by_sentence = False
  for line in lines:
    if line['query'] == 'sentence' and not by_sentence:
      by_sentence = True
      yield f'\nImages for each sentence, by {names[1]}:'
    # What is asked, and what is found for it.
    asked, found = 'image_id', 'caption'
    if by_sentence:
      asked, found = found, asked
    yield f'\n{printable(line[asked])}'
    for item in line['top']:
      yield f'  {item["score"]:8.2f}  {printable(item[found])}'

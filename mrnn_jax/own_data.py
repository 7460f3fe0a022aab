"""One's own photos and sentences: captions and rankings without a dataset."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import captioning, files
from mrnn_jax.config import Config
from mrnn_jax.errors import InputError
from mrnn_jax.logs import Progress, printable
from mrnn_jax.trained import TrainedModel
from mrnn_jax.vocabulary import tokenize


def given(config: Config) -> bool:
  """Return whether the task is to be done on one's own photos or features."""
  named = bool(config.photos or config.features)
  return named and config.task in ('caption', 'rank')


def caption(model: TrainedModel, config: Config) -> None:
  """Caption one's own photos: a table, or JSON lines into ``--output``."""
  image_ids, features = load_images(model, config)
  lines = captioning.caption_lines(
    model, image_ids, features, config, config.prefix
  )
  _give(config, lines, _caption_table(lines))


def rank(model: TrainedModel, config: Config) -> None:
  """Rank one's own photos and sentences both ways.

  Raises:
    InputError: the model cannot rank, or photos or sentences cannot be read.
  """
  model.check_ranks()
  sentences = read_sentences(config.sentences)
  image_ids, features = load_images(model, config)
  K = min(config.norm_images, len(model.norm_features))
  with Progress('ranking', 'thousandths') as progress:
    ranking = model.rank(features, sentences, config.top, K, progress)
  lines = [
    {
      'query': 'image',
      'image_id': image_id,
      'top': [
        {'caption': sentences[s], 'score': float(score)}
        for s, score in zip(items, scores, strict=True)
      ],
    }
    for image_id, items, scores in zip(
      image_ids, ranking.sentences, ranking.sentence_scores, strict=True
    )
  ] + [
    {
      'query': 'sentence',
      'caption': sentence,
      'top': [
        {'image_id': image_ids[i], 'score': float(score)}
        for i, score in zip(items, scores, strict=True)
      ],
    }
    for sentence, items, scores in zip(
      sentences, ranking.images, ranking.image_scores, strict=True
    )
  ]
  _give(config, lines, _ranking_table(lines, K))


def load_images(
  model: TrainedModel, config: Config
) -> tuple[list[str], np.ndarray]:
  """Return the names of the images and their features [N, D].

  Raises:
    InputError: none can be read, or the features are of another kind than the
      model's.
  """
  if config.photos and config.features:
    raise InputError('give --photos or --features, not both.')
  if config.features:
    # Here, as photos are not everybody's way to images.
    from data_prep import features as features_lib

    table = features_lib.load(config.features)
    model.check_encoder(vars(table.encoder), config.features)
    ids = table.ids
    return ids, model.check_features(np.stack([table.get(x) for x in ids]))
  return model.encode_photos(config.photos, config.encoder_weights)


def read_sentences(path: epath.PathLike) -> list[str]:
  """Read sentences, one a line; blank lines are left out.

  Raises:
    InputError: the file cannot be read, is empty, or a line has no word.
  """
  try:
    lines = epath.Path(path).expanduser().read_text().splitlines()
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
  config: Config, lines: Sequence[Mapping[str, Any]], table: Iterable[str]
) -> None:
  """Print the table, or write the lines to where ``--output`` says."""
  if not config.output:
    print('\n'.join(table))
  elif config.output == '-':
    print(files.json_lines(lines), end='')
  else:
    files.write_json_lines(epath.Path(config.output).expanduser(), lines)
    print(f'wrote {config.output}')


def _caption_table(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
  names = [printable(line['image_id']) for line in lines]
  width = max(map(len, names))
  yield f'{"":{width}}   log P    PPL  caption'
  for name, line in zip(names, lines, strict=True):
    for hypothesis in line.get('nbest', [line]):
      yield (
        f'{name:{width}}  {hypothesis["log_prob"]:6.2f}  '
        f'{min(hypothesis["perplexity"], 9999):5.2f}  {hypothesis["caption"]}'
        f'{" ..." if hypothesis["cut"] else ""}'
      )
      name = ''


def _ranking_table(
  lines: Sequence[Mapping[str, Any]], norm_images: int
) -> Iterable[str]:
  score = 'log P(w|I)/P(w)' if norm_images else '-log PPL'
  yield f'Sentences for each image, by {score}:'
  for line in lines:
    if line['query'] == 'image':
      yield f'\n{printable(line["image_id"])}'
      for item in line['top']:
        yield f'  {item["score"]:8.2f}  {printable(item["caption"])}'
  yield '\nImages for each sentence, by log P(w|I):'
  for line in lines:
    if line['query'] == 'sentence':
      yield f'\n{printable(line["caption"])}'
      for item in line['top']:
        yield f'  {item["score"]:8.2f}  {printable(item["image_id"])}'

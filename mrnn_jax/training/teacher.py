"""What a trained model, or an ensemble, says of every training target.

A student learns from it beside the words themselves (Hinton et al. 2015, by
words: Kim & Rush 2016).  Features do not change in training, so the teacher
reads each caption once, before the first step, and what it says is kept: of
each target its k likeliest words.

A model says other things of captions that it was trained on than of others.
So of models that were trained with ``--held_out_fold`` each image is asked of
those that left it out.

Letters: C captions, W target words of all captions, k words kept of each, B
rows, T steps, G captions a row, V vocabulary, D' the teacher's feature.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import io
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax import stored_model
from mrnn_jax.config import Config
from mrnn_jax.data import datasets, folds, input_pipeline
from mrnn_jax.data.image_features import SelectedFeatures
from mrnn_jax.data.vocabulary import PAD, START, Vocabulary
from mrnn_jax.runtime import files, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import Progress
from mrnn_jax.trained import TrainedModel

FILE = 'teacher.npz'


class Teacher:
  """Adds to batches what a teacher says of their targets."""

  def __init__(
    self,
    split: datasets.CaptionSplit,
    words: np.ndarray,
    probs: np.ndarray,
    vocab_size: int,
  ):
    """Take what a teacher says.

    Args:
      split: whose captions they are.
      words: [W, k] the likeliest words of each target, int32.
      probs: [W, k] their probabilities.
      vocab_size: V.
    """
    self._words, self._probs = words, probs
    self._first = np.cumsum(split.lengths) - split.lengths
    # What is not among the k is shared out as words are frequent.
    counts = np.bincount(split.tokens, minlength=vocab_size).astype(np.float32)
    counts[[PAD, START]] = 0
    self._rest = (counts + 1e-3) / counts.sum()

  def prepare(
    self, setting: Any, state: Any, batch: Mapping[str, Any]
  ) -> dict[str, Any]:
    """Return a batch with 'teacher_words', 'teacher_probs', 'teacher_rest'.

    Args:
      setting: not looked at.
      state: not looked at.
      batch: tokens, targets [B, T], captions [B, G] by number, -1 for none.
    """
    del setting, state
    tokens, captions = batch['tokens'], batch['captions']
    starts = tokens == START
    place = np.maximum(np.cumsum(starts, axis=1) - 1, 0)  # which of the G
    steps = np.arange(tokens.shape[1])
    begun = np.maximum.accumulate(np.where(starts, steps, 0), axis=1)
    caption = np.take_along_axis(captions, place, axis=1)
    there = batch['targets'] != PAD
    target = np.where(there, self._first[caption] + steps - begun, 0)
    return {
      **batch,
      'teacher_words': self._words[target],
      'teacher_probs': self._probs[target].astype(np.float32),
      'teacher_rest': np.broadcast_to(
        self._rest, (len(tokens), len(self._rest))
      ),
    }


def load(
  config: Config,
  dataset: datasets.Dataset,
  split: datasets.CaptionSplit,
  vocabulary: Vocabulary,
  devices: list[jax.Device],
) -> Teacher:
  """Return the teacher that a run asks for.

  What it says is kept in the workdir, so that a run that goes on has it again.

  Args:
    config: of the run.
    dataset: that the student is trained on.
    split: its training split.
    vocabulary: the student's words.
    devices: of the run.

  Raises:
    InputError: there is no such teacher, it has other words, or the features
      that it wants are not at hand.
  """
  taught = []
  for paths, images in _who_teaches(config.teacher, split.image_ids):
    model = TrainedModel.load(paths, devices)
    model.check_shared(paths)
    model.check_writes()
    if model.vocabulary != vocabulary:
      raise InputError(
        f'--teacher={paths} knows {len(model.vocabulary):,} words, the student '
        f'{len(vocabulary):,}, or others: a teacher has the same words, of the '
        'same captions and --min_word_count.'
      )
    taught.append((model, images))
  k = min(config.teacher_words, len(vocabulary))
  path = epath.Path(config.workdir) / FILE
  who = [
    (model.identity(), [split.image_ids[i] for i in images])
    for model, images in taught
  ]
  key = _hash(
    f'{who} {dataset.fingerprint} {k} {config.teacher_temperature}'.encode()
  )
  said = _read(path, key)
  parallel.wait_for_all()
  if said is None:
    said = _ask_all(taught, dataset, split, config, k)
    if parallel.is_first():
      buffer = io.BytesIO()
      np.savez(buffer, key=np.asarray(key), words=said[0], probs=said[1])
      files.write_bytes(path, buffer.getvalue())
  return Teacher(split, *said, len(vocabulary))


def _who_teaches(
  teacher: str, image_ids: list[str]
) -> list[tuple[str, np.ndarray]]:
  """Return which models are asked of which images.

  Args:
    teacher: models, separated by commas.
    image_ids: [N] the training images.

  Returns:
    Models, separated by commas, and numbers of images; each image once.

  Raises:
    InputError: some models left a fold out and others did not, or all have read
      some image.
  """
  paths = files.split_paths(teacher)
  held_out = {path: _folds(path) for path in paths}
  if not any(any(folds_) for folds_ in held_out.values()):
    return [(teacher, np.arange(len(image_ids)))]
  # [members, N]: whether a model has read nothing of an image.
  new = np.stack(
    [
      np.all([folds.is_in(image_ids, fold) for fold in held_out[path]], axis=0)
      for path in paths
    ]
  )
  for path, is_new in zip(paths, new, strict=True):
    if is_new.any() or all(held_out[path]):
      continue  # Some are asked of none that this student reads.
    raise InputError(
      f'--teacher={teacher}: {path} has read all training images, others were '
      'trained with --held_out_fold: leave it out.'
    )
  if not new.any(0).all():
    image = image_ids[int(np.argmin(new.any(0)))]
    raise InputError(
      f'--teacher={teacher}: all of them have read {image}: give models of all '
      'parts of --held_out_fold.'
    )
  patterns, which = np.unique(new, axis=1, return_inverse=True)
  return [
    (
      ','.join(path for path, asked in zip(paths, row, strict=True) if asked),
      np.flatnonzero(which.ravel() == i),
    )
    for i, row in enumerate(patterns.T)
  ]


def _folds(path: str) -> list[str]:
  """Return what a model left out of the training images, or its members."""
  description = stored_model.read(path).description
  members = description.get('ensemble', {}).get('members', [description])
  return [member['config'].get('held_out_fold', '') for member in members]


def _hash(text: bytes) -> str:
  return hashlib.sha256(text).hexdigest()


def _read(path: epath.Path, key: str) -> tuple[np.ndarray, np.ndarray] | None:
  """Return what was kept, None where that is of something else, or damaged."""
  if not path.exists():
    return None
  try:
    with path.open('rb') as file, np.load(file) as archive:
      if str(archive['key']) != key:
        return None
      return archive['words'], archive['probs']
  except Exception:  # Broken archives raise nearly anything; it is asked anew.
    return None


def _as_it_sees(
  model: TrainedModel,
  dataset: datasets.Dataset,
  split: datasets.CaptionSplit,
  config: Config,
) -> datasets.CaptionSplit:
  """Return the training split with the features that the teacher wants."""
  source = dataset
  try:
    model.check_dataset(dataset)
  except InputError as error:
    if not model.config.data_dir:
      raise InputError(f'--teacher={config.teacher}: {error}') from error
    source = datasets.open_dataset(dataset.name, model.config.data_dir)
    model.check_dataset(source)
  if source is dataset and not model.sees_photos_of(dataset):
    return split
  seen = model.load_split(source, split.name, config)
  if set(split.image_ids) - set(seen.image_ids):
    raise InputError(
      f'--teacher={config.teacher} was trained on other images than those of '
      f'{dataset.place}: give one that was trained on the same captions.'
    )
  return _reordered(split, seen)


def _reordered(
  split: datasets.CaptionSplit, seen: datasets.CaptionSplit
) -> datasets.CaptionSplit:
  """Return a split with another one's features of the same images."""
  places = {image_id: i for i, image_id in enumerate(seen.image_ids)}
  order = np.asarray([places[image_id] for image_id in split.image_ids])
  features = SelectedFeatures(seen.features, order)
  return dataclasses.replace(split, given_features=features)


def _ask_all(
  taught: Sequence[tuple[TrainedModel, np.ndarray]],
  dataset: datasets.Dataset,
  split: datasets.CaptionSplit,
  config: Config,
  k: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Return words [W, k] and probabilities [W, k] of all targets.

  Args:
    taught: models, and the images that each is asked of.
    dataset: that the student is trained on.
    split: its training split.
    config: of the run.
    k: words that are kept.
  """
  W = split.lengths.sum()
  words, probs = np.zeros((W, k), np.int32), np.zeros((W, k), np.float16)
  first = np.cumsum(split.lengths) - split.lengths
  for model, images in taught:
    seen = _as_it_sees(model, dataset, split, config)
    captions = folds.captions_of(split, images)
    targets = np.concatenate(
      [first[c] + np.arange(split.lengths[c]) for c in captions]
    )
    asked = _ask(model, folds.select(seen, images), config, k)
    words[targets], probs[targets] = asked
  return words, probs


def _ask(
  model: TrainedModel, split: datasets.CaptionSplit, config: Config, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return words [W, k] and probabilities [W, k] of all targets."""
  n = len(model.devices)

  def likeliest(variables, tokens, features):
    logits: Any = model.model.apply(variables, tokens, features)
    probs = jax.nn.softmax(logits / config.teacher_temperature)
    values, words = jax.lax.top_k(probs, k)
    return words.astype(jnp.int32), values

  step = parallel.pmap(likeliest, model.devices)
  variables = parallel.replicate(model.variables, model.devices)
  lengths = split.lengths
  first = np.cumsum(lengths) - lengths
  words = np.zeros((lengths.sum(), k), np.int32)
  probs = np.zeros((lengths.sum(), k), np.float16)
  done, asked = 0, len(lengths)
  with Progress('asking the teacher', 'captions') as progress:
    for batch in input_pipeline.evaluation_batches(
      split, config.eval_batch_size, n
    ):
      rows = (batch['tokens'], batch['features'])
      found = step(variables, *parallel.split_rows(rows, n))
      found = [np.asarray(x).reshape(-1, *x.shape[2:]) for x in found]
      captions = batch['captions'][:, 0]
      row, place = np.nonzero(
        (batch['targets'] != PAD) & (captions >= 0)[:, None]
      )
      target = first[captions[row]] + place
      words[target], probs[target] = (x[row, place] for x in found)
      done += int((captions >= 0).sum())
      progress(done, asked)
  return words, probs

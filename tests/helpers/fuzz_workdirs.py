"""Damaged models and what a workdir holds: kinds of files, their readers."""

import contextlib
import functools
import io
import json
import pathlib
import tempfile

from etils import epath
import fuzzing
from fuzzing import Kind
import jax
import numpy as np
import small_matrix

from mrnn_jax import config as config_lib
from mrnn_jax import model_description, models, stored_model
from mrnn_jax.data import vocabulary
from mrnn_jax.reports import evaluation_file, gallery, tables
from mrnn_jax.reports.sections import measures, retrieval, training
from mrnn_jax.runtime import json_files, workdir_lock
from mrnn_jax.training import log as log_lib
from mrnn_jax.training import run_record

# Models.


@functools.cache
def _config():
  return config_lib.Config(
    embedding_size=4, recurrent_size=5, multimodal_size=7
  )


def _description():
  return model_description.describe(
    _config().fixed(),
    _config().remembered(),
    [*vocabulary.SPECIAL_WORDS, 'a', 'dog', 'runs'],
    {
      'name': 'toy',
      'fingerprint': 'ab',
      'feature_size': 6,
      'encoder': {'name': 'toynet', 'weights': 'abc'},
    },
    step=3,
  )


def _model():
  network = models.create_model('m-rnn', 7, 6, _config().fixed())
  # Not made: that would have to be compiled.
  shapes = jax.eval_shape(
    lambda: models.init_variables(network, jax.random.key(0))
  )
  stored = stored_model.StoredModel(
    _description(),
    jax.tree.map(lambda x: fuzzing.numbers(*x.shape), shapes),
    fuzzing.numbers(4, 6),
  )
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'm.npz'
    stored_model.write(path, stored)
    with np.load(path) as file:
      arrays = dict(file)
    return [path.read_bytes(), fuzzing.saved(np.savez, **arrays)]


def _repack_model(data, rng):
  """Mutate the description half of the time, else any array."""
  if rng.random() < 0.5:
    return fuzzing.repack_zip(data, rng)
  with np.load(io.BytesIO(data)) as file:
    arrays = dict(file)
  described = json.loads(str(arrays['description']))
  changed = json.dumps(fuzzing.mutate_json(described, rng))
  return fuzzing.saved(
    np.savez, **{**arrays, 'description': np.asarray(changed)}
  )


def _read_model(path):
  stored = stored_model.read(path)
  config = config_lib.complete(
    config_lib.Given(), stored.description, str(path)
  )
  vocabulary.Vocabulary(tuple(stored.description['vocabulary']))
  ' '.join(stored.description['vocabulary']).encode()
  assert stored.norm_features.shape[1] == 6
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(stored.variables))
  return config.model


# What a workdir holds.


def _checkpoint():
  progress = run_record.Plateau(_config(), {}).as_json()
  described = {'description': _description(), 'progress': progress}
  return [fuzzing.as_json(described)]


def _read_checkpoint(path):
  """Do what a run does with the JSON of its latest checkpoint."""
  stored = json_files.read_object(path)
  description, progress = stored.get('description'), stored.get('progress')
  model_description.check(description, str(path))
  run_record.check_progress(progress, str(path))
  config_lib.complete(config_lib.Given(), description, str(path))
  run_record.check_description(description, _description(), str(path))
  run_record.Plateau(_config(), progress).update(5, 3.5)
  return progress['finished'] + 'x'


_CURVE = {
  'percent': [1, 10, 100],
  'true_items': [0, 1, 5],
  'share': [0, 0.2, 1],
}
_RANKS = {'r@1': 1.0, 'r@5': 2.0, 'r@10': 3.0, 'median_rank': 4}


def _evaluation():
  result = {
    'dataset': 'flickr8k',
    'split': 'test',
    'model': 'm-rnn',
    'step': 3,
    'convention': {
      'encoder': {'name': 'a', 'weights': 'f' * 64},
      'beam_size': None,
      'target_end': True,
      'references': 4.5,
    },
    'perplexity': {'corpus': 5.0, 'geometric_mean': 4, 'oov_rate': 0.0},
    'bleu': {'cumulative': [0.5, 0.4, 0.3, 0.2], 'references': 5.0},
    'cider_d': 0.5,
    'rouge_l': 0.5,
    'captions': {'distinct': 3, 'mean_words': 5.5},
    'retrieval': {
      'image_to_text': _RANKS,
      'text_to_image': _RANKS,
      'norm_images': {'0': _RANKS, '10': _RANKS},
      'recall_curve': {'image_to_text': _CURVE, 'text_to_image': _CURVE},
    },
    'chance': {'image_to_text': _RANKS, 'text_to_image': _RANKS},
  }
  return [
    fuzzing.as_json(result),
    fuzzing.as_json({**result, 'retrieval': None, 'chance': None}),
  ]


def _read_evaluation(path):
  """Make of it all that is made of it."""
  result = evaluation_file.read(epath.Path(path), 'a command')
  tables.format_evaluation(result).encode()
  for section in (measures.section, retrieval.section):
    section(_config(), result).encode()
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    (pathlib.Path(folder) / 'evaluation.json').write_bytes(path.read_bytes())
    tables.average([folder, folder]).encode()
  return result['model'] + 'x'


def _log():
  lines = [
    {'step': i, 'epoch': i / 9, 'train_perplexity': 9.5 - i, 'cost': 3.5}
    for i in range(1, 6)
  ]
  lines.insert(3, {'step': 3, 'epoch': 1 / 3, 'validation_perplexity': 7.5})
  return [b'\n'.join(map(fuzzing.as_json, lines))]


def _read_log(path):
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    (pathlib.Path(folder) / log_lib.LOG_FILE).write_bytes(path.read_bytes())
    lines = log_lib.read_log(folder)
    training.section(_config().replace(workdir=folder)).encode()
  return [line for line in lines if line['step'] <= 3]


def _captions():
  one = {'caption': 'a dog', 'log_prob': -3.5, 'perplexity': 2.5, 'cut': False}
  lines = [{'image_id': f'{i}.jpg', **one, 'nbest': [one]} for i in range(4)]
  return [b'\n'.join(map(fuzzing.as_json, lines))]


def _queries():
  found = [{'image_id': '1.jpg', 'score': 0.5, 'caption': 'a dog'}]
  image = {'query': 'image', 'image_id': '1.jpg', 'rank': 1, 'top': found}
  sentence = {**image, 'query': 'sentence', 'caption': 'a dog'}
  return [b'\n'.join(map(fuzzing.as_json, [image, sentence]))]


def _gallery(name):
  """Return what makes a gallery of a file, without the dataset."""

  def read(path):
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
      (pathlib.Path(folder) / name).write_bytes(path.read_bytes())
      config = _config().replace(workdir=folder, data_dir=folder)
      found, remarks = gallery.load_gallery(config)
      if found:
        json.dumps(found.as_json(None))
    return remarks

  return read


@functools.cache
def _matrices():
  """Return name -> sound files of a kept matrix: whole, and under way."""
  made: dict[str, list[bytes]] = {'m.npy': [], 'm.json': []}
  for stop_at in (None, 2):
    ranker = small_matrix.FakeRanker()
    ranker.stop_at = stop_at
    with tempfile.TemporaryDirectory() as folder:
      store = small_matrix.store(epath.Path(folder), ranker)
      with contextlib.suppress(KeyboardInterrupt):
        store.matrix('m', small_matrix.FEATURES)
      for name, files in made.items():
        files.append((pathlib.Path(folder) / name).read_bytes())
  return made


def _read_matrix(name):
  """Return what goes on with a matrix, one file of which is damaged."""

  def read(path):
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
      for other, (whole, _) in _matrices().items():
        (pathlib.Path(folder) / other).write_bytes(whole)
      (pathlib.Path(folder) / name).write_bytes(path.read_bytes())
      store = small_matrix.store(epath.Path(folder), small_matrix.FakeRanker())
      matrix = store.matrix('m', small_matrix.FEATURES)
      assert matrix.shape == (6, 7)
      return np.array(matrix)

  return read


def _lock():
  owner = {
    'host': 'a',
    'pid': 3,
    'process': 'x y',
    'namespace': 'x 3',
    'task': 'train',
    'since': 'now',
  }
  return [fuzzing.as_json(owner)]


def _read_lock(path):
  with path.open() as file:
    owner = workdir_lock._read(file)
  if owner:
    workdir_lock._is_alive(owner)
    assert fuzzing.is_plain(workdir_lock._named(owner))
  return owner


_json, _lines = fuzzing.repack_json, fuzzing.repack_json_lines

KINDS: dict[str, Kind] = {
  'model npz': Kind('.npz', _model, _read_model, _repack_model),
  'checkpoint': Kind('.json', _checkpoint, _read_checkpoint, _json),
  'evaluation': Kind('.json', _evaluation, _read_evaluation, _json),
  'log': Kind('.jsonl', _log, _read_log, _lines),
  'captions written': Kind(
    '.jsonl', _captions, _gallery('captions.jsonl'), _lines
  ),
  'retrieval': Kind('.jsonl', _queries, _gallery('retrieval.jsonl'), _lines),
  'matrix state': Kind(
    '.json', lambda: _matrices()['m.json'], _read_matrix('m.json'), _json
  ),
  'matrix': Kind('.npy', lambda: _matrices()['m.npy'], _read_matrix('m.npy')),
  'workdir lock': Kind('.lock', _lock, _read_lock, _json),
}

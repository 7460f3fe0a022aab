"""The tasks of the command line, and what each needs opened first.

A task imports its rooms when it is run: whoever wants captions does not wait
for what trains.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import sys
from typing import Any

from etils import epath

from mrnn_jax import config as config_lib
from mrnn_jax import model_description, own_data, stored_ensemble, stored_model
from mrnn_jax.config import Config, Given
from mrnn_jax.config.task_facts import TRAINING
from mrnn_jax.data import datasets
from mrnn_jax.runtime import parallel, stopping, workdir_lock
from mrnn_jax.runtime.along import PRETRAINED
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import say
from mrnn_jax.trained import TrainedModel


def run(given: Given) -> None:
  """Run the task that is asked for.

  Several processes share all that a model computes; a page or a model's file
  the first one makes while the others wait.

  Args:
    given: where a workdir holds a run, it must agree with it, and the rest is
      taken from there.
  """
  task, first = config_lib.TASKS[given.get('task')], parallel.is_first()
  try:
    config = resolve(given)
    if not first and not task.shared:
      return
    with contextlib.ExitStack() as stack:
      elsewhere = own_data.given(config) or (
        config.task == 'calibrate' and config.output
      )
      if first and task.writes_workdir and not elsewhere:
        stack.enter_context(workdir_lock.hold(config.workdir, config.task))
      FUNCTIONS[config.task](config)
  except stopping.Stopped as stopped:
    raise stopping.Stopped(str(stopped) or task.stopped) from stopped


def train_model(**settings: Any) -> None:
  """Train as the settings say, as if each were a flag.

  Raises:
    InputError: one does not exist, or is of another kind.
  """
  for name, value in settings.items():
    if name not in config_lib.FIELDS or name == 'task':
      raise InputError(f'train() takes no {name}: see --help for its settings.')
    kind: Any = config_lib.FIELDS[name].type
    if not isinstance(value, (int, float) if kind is float else kind):
      raise InputError(f'{name}={value!r} is no {kind.__name__}.')
  run(Given({'task': 'train', **settings}, frozenset(settings)))


def resolve(given: Given) -> Config:
  """Fill in the default workdir, and the settings of the model that is there.

  Photos and features of one's own go to the pretrained model where neither
  --workdir nor --model_file names another.
  """
  own = given.get('photos') or given.get('features')
  named = given.get('workdir') or given.get('model_file')
  if own and not named and given.get('task') != 'report':
    given = given.adding(model_file=PRETRAINED)
  if not given.get('workdir'):
    folder = epath.Path('runs') / given.get('dataset') / given.get('model')
    if not folder.exists():
      _check_named(given)
    given = given.adding(workdir=str(folder))
  if source := given.get('model_file'):
    description = stored_ensemble.read(source, *_ensemble(given)).description
  else:
    source = given.get('workdir')
    from mrnn_jax.runtime import checkpoint as checkpoint_lib

    with checkpoint_lib.Checkpoints(source) as checkpoints:
      latest = checkpoints.latest_step()
      if latest is None:
        if start := given.get('init_from'):
          from mrnn_jax.training import start as start_lib

          given = config_lib.begin_from(
            given, start_lib.description(start), start
          )
        config = config_lib.complete(given)
        _tell(given, {}, config)
        return config
      description, _ = checkpoints.describe(latest)
    model_description.check(description, source)
  config = config_lib.complete(given, description, source)
  _tell(given, description.get('remembered', {}), config, source)
  return config


def _check_named(given: Given) -> None:
  """Raise InputError where a task lacks the model, or what it is used on."""
  task = given.get('task')
  if task in TRAINING or given.get('model_file') or given.get('merge'):
    return
  config_lib.complete(given)  # What else is lacking comes first.
  wanted = '--workdir=W, the folder of a trained model'
  if task == 'caption':
    wanted = f'--photos=DIR, photos of your own, or {wanted}'
  elif task == 'score':
    wanted = f'--features=FILE of your images, or {wanted}'
  elif task == 'report':
    wanted = '--workdir=W, the folder of a run that was evaluated'
  raise InputError(f'--task={task} wants {wanted}.')


def _tell(
  given: Given,
  remembered: Mapping[str, Any],
  config: Config,
  source: str = '',
) -> None:
  """Tell on stderr what of a configuration the user has not given."""
  task = config_lib.TASKS[config.task]
  if not task.writes_workdir or not parallel.is_first():
    return
  asked = {
    name: given.get(name) if name in given.values else value
    for name, value in remembered.items()
  }
  taken = [
    f'--{name}={value}'
    for name, value in asked.items()
    if name in config_lib.REMEMBERED
    and value != given.get(name)
    and config.task in config_lib.FIELDS[name].metadata['tasks']
  ]
  if taken:
    whose = 'the pretrained model' if source == PRETRAINED else source
    print(f'note: as in {whose}: {" ".join(taken)}', file=sys.stderr)
  if config.beam_size != asked.get('beam_size', given.get('beam_size')):
    print(
      f'note: --beam_size={config.beam_size}, for --nbest={config.nbest} in '
      f'--beam_groups={config.beam_groups}',
      file=sys.stderr,
    )


def _ensemble(given: Given | Config) -> tuple[str, str]:
  """Return mean and weights of an ensemble, as they are asked for."""
  names = ('ensemble', 'ensemble_weights')
  if isinstance(given, Config):
    return tuple(getattr(given, name) for name in names)
  return tuple(given.get(name) for name in names)


def _load(config: Config) -> TrainedModel:
  path = config.model_file or config.workdir
  model = TrainedModel.load(
    path, parallel.local_devices(config.num_devices), *_ensemble(config)
  )
  if config_lib.TASKS[config.task].shared:
    model.check_shared(path)
  return model


def _open(model: TrainedModel, config: Config) -> datasets.Dataset:
  """Open the dataset that a model is used on."""
  dataset = datasets.open_dataset(config.dataset, config.data_dir)
  model.check_dataset(dataset)
  return dataset


def _warn(text: str) -> None:
  """Tell on stderr, also with --quiet, what a task goes on without."""
  if parallel.is_first():
    print(f'note: {text}', file=sys.stderr)


def _with_drawn(
  model: TrainedModel, dataset: datasets.Dataset, config: Config
) -> TrainedModel:
  """Return a model with training images, where an ensemble has none."""
  from mrnn_jax.evaluation.reranking import NUM_IMAGES

  wanted = max(config.norm_images, NUM_IMAGES if config.rerank else 0)
  estimates = wanted and model.writes and model.model.sees_images
  if len(model.norm_features) or not estimates:
    return model
  words = dataset.vocabulary(model.config.min_word_count)
  if dataset.name != model.dataset['name'] or words != model.vocabulary:
    _warn(f'no images are drawn for P(w): not trained on {dataset.place}')
    return model
  say(f'note: {wanted} training images of {dataset.place} are drawn for P(w)')
  drawn = model.draw_training_images(dataset, config, wanted)
  return dataclasses.replace(model, norm_features=drawn)


def _within_norm_images(model: TrainedModel, config: Config) -> Config:
  """Take as many training images as there are, where fewer than K are."""
  return config.replace(norm_images=model.num_norm_images(config.norm_images))


def evaluate(config: Config) -> None:
  """Measure the model, write evaluation.json, print it as a table."""
  from mrnn_jax.evaluation import evaluate as evaluate_lib
  from mrnn_jax.reports import tables

  model = _load(config)
  dataset = _open(model, config)
  if config.retrieval or config.rerank:
    model = _with_drawn(model, dataset, config)
  result = evaluate_lib.evaluate(
    model, dataset, _within_norm_images(model, config)
  )
  if parallel.is_first():
    print(tables.format_evaluation(result))


def train(config: Config) -> None:
  """Train to the end."""
  from mrnn_jax.training import loop as train_lib

  train_lib.train(config)


def train_and_evaluate(config: Config) -> None:
  """Train to the end, then measure the best model."""
  train(config)
  parallel.wait_for_all()  # The first one has saved the model.
  evaluate(config)


def caption(config: Config) -> None:
  """Write captions.jsonl, or captions for one's own photos."""
  model = _load(config)
  model.check_writes()
  if own_data.given(config):
    own_data.caption(model, config)
    return
  from mrnn_jax.evaluation import captions
  from mrnn_jax.evaluation import evaluate as evaluate_lib

  dataset = _open(model, config)
  if config.rerank:
    model = _with_drawn(model, dataset, config)
  captions.write_captions(
    model,
    evaluate_lib.load_split(model, dataset, config, False),
    config,
    config.prefix,
    captions.make_consensus(model, dataset, config),
  )


def calibrate(config: Config) -> None:
  """Fit how sure the model's captions are, and store that with it."""
  from mrnn_jax import stored_calibration
  from mrnn_jax.evaluation import captions, confidence
  from mrnn_jax.evaluation import evaluate as evaluate_lib

  model = _load(config)
  source = epath.Path(config.model_file or config.workdir)
  if config.model_file and not config.output:
    raise InputError(
      f'say where to write the model of {source} with its calibration: '
      '--output=FILE.npz, which may be the same file.'
    )
  model.check_writes()
  model.check_ranks()
  dataset = _open(model, config)
  model = _with_drawn(model, dataset, config)
  split = evaluate_lib.load_split(
    model, dataset, config.replace(split='validation'), False
  )
  found = captions.hypotheses(
    model, split.image_ids, split.features.all(), config
  )
  calibration, measured = confidence.calibrate(model, split, found, config)
  if not parallel.is_first():
    return
  stored = calibration.as_json() | {
    'dataset': dataset.name,
    'captions': sum(map(len, found)),
  }
  if config.output:
    model = dataclasses.replace(model, calibration=stored)
    # A file keeps all that it carries.
    whole = source.suffix == stored_model.SUFFIX
    count = len(model.norm_features) if whole else calibration.norm_images
    model.save(config.output, count)
    print(f'wrote {config.output}')
  else:
    path = stored_calibration.write(source, stored, model.identity())
    print(f'wrote {path}')
  auc = 'no two kinds'
  if measured['auc'] is not None:
    auc = f'AUC {measured["auc"]:.3f}'
  print(
    f'captions of {dataset.name}, validation split: CIDEr-D above '
    f'{calibration.threshold:g} for {measured["above"]:.1%}; chance on average '
    f'{measured["mean"]:.1%}, {auc}, Brier {measured["brier"]:.3f} (each by a '
    'calibration to the others)'
  )


def retrieve(config: Config) -> None:
  """Write retrieval.jsonl, print the measures."""
  from mrnn_jax.evaluation import evaluate as evaluate_lib
  from mrnn_jax.evaluation import retrieval as retrieval_lib
  from mrnn_jax.reports import tables

  model = _load(config)
  model.check_ranks()
  dataset = _open(model, config)
  model = _with_drawn(model, dataset, config)
  split = evaluate_lib.load_split(
    model, dataset, config, config.first_caption_only
  )
  config = _within_norm_images(model, config)
  result, chance = retrieval_lib.retrieve(model, split, config)
  if not parallel.is_first():
    return
  name = f'{model.name} (ours)'
  print(
    tables.format_table(
      {name: {'retrieval': result}, 'chance': {'retrieval': chance}}
    )
  )


def write_page(config: Config) -> None:
  """Write report.html from what the other tasks have written."""
  from mrnn_jax.reports import report

  report.write_page(config)


def rank(config: Config) -> None:
  """Rank one's own photos and sentences both ways."""
  own_data.rank(_load(config), config)


def score(config: Config) -> None:
  """Score files of pairs of an image and a sentence."""
  from mrnn_jax.scoring import job as scoring_job
  from mrnn_jax.scoring import merge

  scoring_job.check_flags(config)  # Before the model is loaded.
  if config.merge:
    if parallel.is_first():
      merge.merge(config.output)
    return
  if config.beam_runner:
    from mrnn_jax.scoring import beam_scoring

    if parallel.is_first():
      beam_scoring.score(config)
    return
  model = _load(config)
  model.check_writes()
  scoring_job.score(model, config)


def export(config: Config) -> None:
  """Write the workdir's best model, or an ensemble, to one file."""
  path = epath.Path(config.output or epath.Path(config.workdir) / 'model.npz')
  model = _load(config)
  if model.ensemble and not len(model.norm_features) and config.norm_images:
    try:
      model = _with_drawn(model, _open(model, config), config)
    except InputError as error:
      _warn(f'the file has no training images for P(w): {error}')
  if not parallel.is_first():
    return
  model.save(path, model.num_norm_images(config.norm_images))
  print(f'wrote {path} ({path.stat().length / 1e6:.1f} MB)')


# What is to be known of each without running it: ``config.TASKS``.
FUNCTIONS: dict[str, Callable[[Config], None]] = {
  'train_and_evaluate': train_and_evaluate,
  'train': train,
  'evaluate': evaluate,
  'caption': caption,
  'retrieve': retrieve,
  'rank': rank,
  'calibrate': calibrate,
  'score': score,
  'report': write_page,
  'export': export,
}

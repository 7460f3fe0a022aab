"""The runs behind a row: their workdirs, commands, and what they have measured.

A run is a system and a seed, in an ordinary workdir: training, evaluation by
each of the protocols, and retrieval by shortlist.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import shlex
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax import metrics as metrics_lib
from mrnn_jax import tasks
from mrnn_jax.config import Config, Given, checks
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import evaluate as evaluate_lib
from mrnn_jax.evaluation import retrieval
from mrnn_jax.reports import evaluation_file
from mrnn_jax.reports import gallery as gallery_lib
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime import files, json_files
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.tables import per_image
from mrnn_jax.tables.systems import System
from mrnn_jax.trained import TrainedModel

_RECORD = 'tables_row.json'
# Evaluations by reference length, each in a folder of the run's workdir.
REFERENCE, CONTEXT = 'reference', 'context'
# What the tables decide for each run, whatever an experiment's file says.
_OWN = ('task', 'workdir', 'split', 'shortlist', 'context_words')


@dataclasses.dataclass(frozen=True)
class Protocol:
  """What is measured of every run.

  Attributes:
    context_words: words that the second evaluation by reference length gives.
    shortlist: images of sentence retrieval by shortlist, at most.
  """

  context_words: int = 5
  shortlist: int = 100


@dataclasses.dataclass(frozen=True)
class Run:
  """A system with one seed.

  Attributes:
    system: which.
    seed: its seed.
    ranked: whether it is ranked.
    folder: its workdir.
    values: fields of ``Config`` that describe it, but for task and workdir.
    protocol: what is measured.
    fingerprint: of the dataset.
  """

  system: System
  seed: int
  ranked: bool
  folder: epath.Path
  values: Mapping[str, Any]
  protocol: Protocol
  fingerprint: str

  @classmethod
  def of(
    cls,
    system: System,
    seed: int,
    ranked: bool,
    given: Given,
    protocol: Protocol,
    fingerprint: str,
  ) -> 'Run':
    """Make a run of what a user gave for all of them.

    Args:
      system: which; what it is tuned to prevails.
      seed: its seed.
      ranked: whether it is ranked, if it can be.
      given: for all runs; its workdir holds theirs.
      protocol: what is measured.
      fingerprint: of the dataset.
    """
    folder = epath.Path(given.get('workdir')).expanduser()
    values = {**given.values, **system.flags, 'seed': seed}
    if 'num_epochs' in system.flags:
      # Of a smaller experiment no more passes than it wants.
      values['num_epochs'] = min(
        system.flags['num_epochs'], given.get('num_epochs')
      )
    for name in _OWN:
      values.pop(name, None)
    return cls(
      system,
      seed,
      ranked and system.kind.sees_images,
      folder / system.key / f'seed{seed}',
      values,
      protocol,
      fingerprint,
    )

  def given(self, task: str, **more: Any) -> Given:
    """Return what the command of a task gives."""
    return _effective(
      Given({**self.values, 'workdir': str(self.folder), 'task': task, **more})
    )

  def steps(self) -> dict[str, Given]:
    """Return what is to be run, by what it is."""
    steps = {
      'train': self.given('train'),
      'evaluate': self.given('evaluate', retrieval=self.ranked),
    }
    if self.system.kind.writes:
      contexts = {REFERENCE: 0, CONTEXT: self.protocol.context_words}
      for name, words in contexts.items():
        if words or name == REFERENCE:
          steps[name] = self.given(
            'evaluate',
            workdir=str(self.folder / name),
            model_file=str(self.folder),
            length_protocol='reference',
            context_words=words,
            retrieval=False,
          )
    return steps

  def commands(self) -> list[str]:
    """Return the commands that do the same, one after another."""
    return [command(given) for given in self.steps().values()]

  def is_trained(self) -> bool:
    """Whether training has come to its end."""
    with checkpoint_lib.Checkpoints(self.folder) as checkpoints:
      step = checkpoints.latest_step()
      return step is not None and bool(
        checkpoints.describe(step)[1].get('finished')
      )

  def result(self) -> dict[str, Any] | None:
    """Return what was measured by these very commands; None if it was not."""
    return self._record().get('result')

  def left(self) -> list[str]:
    """Return the names of the steps that are not done."""
    done = self._record()['done']
    return [
      name
      for name in self.steps()
      if not (self.is_trained() if name == 'train' else name in done)
    ]

  def _record(self) -> dict[str, Any]:
    """Return what is kept of this run: 'done', steps, and the 'result'."""
    path = self.folder / _RECORD
    if path.exists():
      record = json_files.read_object(path, f'delete {path}')
      if record.get('key') == self._key():
        return record
    return {'key': self._key(), 'done': []}

  def _key(self) -> dict[str, Any]:
    """Return what a result depends on."""
    return {
      # Wherever the data and the runs are.
      'settings': {
        name: {**given.values, 'data_dir': '', 'workdir': '', 'model_file': ''}
        for name, given in self.steps().items()
      },
      'shortlist': self.protocol.shortlist,
      'dataset': self.fingerprint,
    }

  def run(self) -> Iterator[str]:
    """Do what is not done yet, and keep the result.

    Yields:
      What comes next, before it does.

    Raises:
      InputError: the run cannot be done.
      Stopped: on request; what is saved is taken up by the next ``run``.
    """
    steps, record = self.steps(), self._record()

    def keep():
      files.write_json(self.folder / _RECORD, record)

    for name in self.left():
      yield name
      tasks.run(steps[name])
      record['done'].append(name)
      keep()
    result = _read(self.folder)
    for name in (REFERENCE, CONTEXT):
      if name in steps:
        measured = _read(self.folder / name)
        result[name] = {
          key: measured[key]
          for key in ('perplexity', 'bleu', 'cider_d', 'rouge_l', 'skipped')
        }
        result[name]['context_words'] = steps[name].get('context_words')
    config = tasks.resolve(steps['evaluate'])
    if self.ranked:
      result |= self._by_shortlist(config)
    gallery, _ = gallery_lib.load_gallery(config)
    if gallery:
      result['per_image'] = per_image.statistics(gallery)
    record['result'] = result
    keep()

  def _by_shortlist(self, config: Config) -> dict[str, Any]:
    """Measure retrieval by shortlist from the matrices that are kept."""
    model = TrainedModel.load(self.folder)
    dataset = datasets.open_dataset(config.dataset, config.data_dir)
    split = evaluate_lib.load_split(
      model, dataset, config, config.first_caption_only
    )
    size = min(self.protocol.shortlist, len(split.image_ids))
    config = config.replace(
      shortlist=size, norm_images=model.num_norm_images(config.norm_images)
    )
    shortlist = retrieval.make_shortlist(split, config)
    tally = retrieval.take(model, split, config, shortlist)
    if tally is None:
      raise InputError('tables are made by one process: start no others.')
    num_own = np.asarray([len(texts) for texts in split.captions])
    return {
      'shortlist': size,
      'retrieval_shortlist': tally.measures(),
      'chance_shortlist': metrics_lib.chance(num_own, shortlist),
    }


def _read(folder: epath.Path) -> dict[str, Any]:
  return evaluation_file.read(
    folder / 'evaluation.json', 'python -m mrnn_jax.tables ...'
  )


def _effective(given: Given) -> Given:
  """Return what of a ``Given`` has an effect for its task and model.

  By hand the rest is refused; and a workdir holds fast what it was given.
  """
  config = config_lib.complete(given)
  return Given(
    {
      name: value
      for name, value in given.values.items()
      if checks.has_effect(config, config_lib.FIELDS, name)
    }
  )


def command(given: Given) -> str:
  """Return the command line that gives what a ``Given`` does."""
  words = ['python', '-m', 'mrnn_jax.main']
  for name, field in config_lib.FIELDS.items():
    value = given.get(name)
    if value != field.default:
      if field.type is bool:
        words.append(f'--{name}' if value else f'--no{name}')
      else:
        words.append(f'--{name}={value}')
  return shlex.join(words)

"""The help of ``python -m mrnn_jax.main`` and of ``mrnn``, at once.

Flags are declared beside what they configure, and models declare their own: to
read them takes JAX, some seconds.  What the help says is therefore kept in
``help.json``, with the checksums of the files that it was made of; where these
are no longer the same, it is made anew.  To write the file:

  python -m mrnn_jax.help_text
"""

from collections.abc import Mapping, Sequence
import hashlib
import json
import pathlib
import sys
from typing import Any

from absl import flags

from mrnn_jax.runtime import cli

FILE = pathlib.Path(__file__).parent / 'help.json'
_ROOT = pathlib.Path(__file__).parents[1]

USAGE = """
python -m mrnn_jax.main --flagfile=flickr8k.flags [--workdir=W] [--task=TASK]

Train an m-RNN on a prepared dataset and evaluate it, write captions, or rank
images and sentences. A workdir alone is enough to use its model:
python -m mrnn_jax.main --workdir=W --task=caption
Photos of your own go to a pretrained model:
python -m mrnn_jax.main --task=caption PHOTOS
With --task=TASK --help there are the flags of that task alone.
"""

_TASK_USAGE = """
mrnn {name}{photos} [--FLAG=VALUE ...]
(python -m mrnn_jax.main --task={task}{photos} [--FLAG=VALUE ...])

{text}
"""

# What a task does, and whether photos may stand without a flag.
TASK_TEXTS = {
  'train_and_evaluate': 'Train a model on a prepared dataset, and measure it.',
  'train': 'Train a model on a prepared dataset.',
  'evaluate': 'Measure a trained model: perplexity, BLEU, CIDEr-D, ROUGE-L, '
  'retrieval.',
  'caption': 'Write captions for photos, or for a split of a dataset.',
  'retrieve': 'Rank the images and sentences of a split.',
  'rank': 'Rank photos and sentences of your own, both ways.',
  'calibrate': 'Fit how sure captions are to the validation split, and store '
  'that with the model.',
  'score': 'Score files of pairs of an image and a sentence.',
  'report': 'Make a page of what was measured; PHOTOS are the images of the '
  'split.',
  'export': 'Write a trained model to one file.',
}
_OF_PHOTOS = ('caption', 'rank', 'report')


def of(argv: Sequence[str]) -> str:
  """Return the help that a command line asks for.

  Args:
    argv: with ``--task``, where it is of one task alone.
  """
  task = ''
  for word, following in zip(argv, [*argv[1:], ''], strict=True):
    name, equals, value = word.partition('=')
    if name.lstrip('-') == 'task' and word.startswith('-'):
      task = value if equals else following
  kept = _read() or made()
  groups = {
    heading: [
      cli.FlagHelp(x['name'], x['label'], x['text'])
      for x in described
      if task not in TASK_TEXTS or (task in x['tasks'] and x['name'] != 'task')
    ]
    for heading, described in kept['groups'].items()
  }
  usage = USAGE
  if task in TASK_TEXTS:
    usage = _TASK_USAGE.format(
      name=task.removesuffix('_and_evaluate'),
      task=task,
      photos=' PHOTOS' if task in _OF_PHOTOS else '',
      text=TASK_TEXTS[task],
    )
  return cli.format_help(usage, {k: v for k, v in groups.items() if v})


def made() -> dict[str, Any]:
  """Return what ``help.json`` should hold, from the flags themselves."""
  from mrnn_jax import config as config_lib
  from mrnn_jax.config import flags as config_flags

  values = flags.FlagValues()
  config_flags.define_flags(values)
  described = cli.describe_flags(config_flags.flag_groups(), values)
  held = {
    name
    for group in config_lib.GROUPS
    if group.fixed
    for name in group.names()
    if name != 'dataset'
  }
  training = ('train_and_evaluate', 'train')
  return {
    'sources': _checksums(
      name
      for name, module in sys.modules.items()
      if name.startswith('mrnn_jax.') and getattr(module, '__file__', None)
    ),
    'groups': {
      heading: [
        {
          **vars(flag),
          # What a workdir holds fast is given once.
          'tasks': training
          if flag.name in held
          else config_lib.FIELDS[flag.name].metadata['tasks'],
        }
        for flag in those
      ]
      for heading, those in described.items()
    },
  }


def _checksums(modules: Any) -> dict[str, str]:
  """Return the checksum of the file of each module, '' where there is none."""
  found = {}
  for name in sorted(modules):
    path = _ROOT / name.replace('.', '/')
    path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
    content = path.read_bytes() if path.is_file() else b''
    found[name] = hashlib.sha256(content).hexdigest()[:16]
  return found


def _read() -> Mapping[str, Any] | None:
  """Return what is kept, or None where it is not of these files."""
  try:
    kept = json.loads(FILE.read_text())
    return kept if kept['sources'] == _checksums(kept['sources']) else None
  except (OSError, ValueError, KeyError):
    return None


def write() -> None:
  """Write ``help.json``."""
  FILE.write_text(json.dumps(made(), indent=1) + '\n')


if __name__ == '__main__':
  from mrnn_jax import help_text

  help_text.write()

"""The tasks: what is to be known of each without running it.

``mrnn_jax.tasks`` has the functions; a field of ``Config`` says which tasks it
is for.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
  """What is to be known of a task.

  Attributes:
    text: stands behind its name in the help.
    shared: whether all processes take part, or the first one alone.
    writes_workdir: whether it must be the only one in a workdir.
    stopped: what a stop leaves, where the work itself does not say.
  """

  text: str = ''
  shared: bool = True
  writes_workdir: bool = False
  stopped: str = 'nothing of it is kept; the same command begins again.'


_FROM_STEP = 'the same command goes on from the step that is saved.'
_FROM_MATRIX = (
  'the same command goes on from what is ranked; the rest begins again.'
)

TASKS = {
  'train_and_evaluate': Task(
    writes_workdir=True,
    stopped='the same command goes on from the step and the ranking that are '
    'saved.',
  ),
  'train': Task(writes_workdir=True, stopped=_FROM_STEP),
  'evaluate': Task(
    '(perplexity, BLEU, CIDEr-D, ROUGE-L, retrieval)',
    writes_workdir=True,
    stopped=_FROM_MATRIX,
  ),
  'caption': Task(writes_workdir=True),
  'retrieve': Task(writes_workdir=True, stopped=_FROM_MATRIX),
  'rank': Task('(photos and sentences of your own)'),
  'calibrate': Task(
    '(how sure its captions are, by the validation split)', writes_workdir=True
  ),
  'score': Task(
    '(files of pairs)',
    stopped='what is scored is kept; the same command goes on from there.',
  ),
  'report': Task('(a page of what was written)', shared=False),
  'export': Task('(one file)'),
}

# Those that do a certain thing, for the fields that shape it.
TRAINING = ('train_and_evaluate', 'train')
EVALUATION = ('train_and_evaluate', 'evaluate')
WRITING = (*EVALUATION, 'caption')
RANKING = (*EVALUATION, 'retrieve', 'rank', 'score')


def text() -> str:
  """Return what the help says of all tasks."""
  others = '; '.join(
    f'{name} {task.text}'.strip()
    for name, task in TASKS.items()
    if name not in TRAINING
  )
  return (
    f'train; or, with the best model: {others}. train_and_evaluate does both.'
  )


def all_but(*names: str) -> tuple[str, ...]:
  """Return the names of the other tasks."""
  return tuple(name for name in TASKS if name not in names)

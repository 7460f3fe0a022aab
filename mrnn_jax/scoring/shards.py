"""Shards of a scoring job: whose blocks are whose, and what is complete.

Nothing is locked and no shard knows of another: beside its results a shard
that is complete leaves ``done-00003-of-00016.json``, which says what they were
made from.  Those files together are the manifest of the job.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import os
import re
import socket
from typing import Any

from etils import epath
import jax

from mrnn_jax.runtime import files, messages
from mrnn_jax.runtime.errors import InputError

_DONE = re.compile(r'done-(\d{5,})-of-(\d{5,})\.json')
# Another number where blocks begin to be shared out otherwise: a job whose
# shards did it in two ways would have records twice, and others not at all.
SHARING = 2
_STATE = {'shard', 'of', 'results', 'bytes', 'job'}
# What may differ between two jobs, as a message names it.
_PARTS = {
  'input': '--score_input',
  'features': 'features',
  'model': 'model',
  'options': 'options',
}


@dataclasses.dataclass(frozen=True)
class Shard:
  """One of ``count`` equal parts of the input, ``index`` from 0."""

  index: int
  count: int

  @classmethod
  def parse(cls, text: str, environ: Mapping[str, str] = os.environ) -> 'Shard':
    """Read ``--shard``.

    Args:
      text: ``i/n``; '' for the process's place among those of the job, which
        is all of it for one process; ``auto`` for the task of a SLURM array or
        a Kubernetes Indexed Job, ``auto/n`` where n is not to be had there.
      environ: where those leave their numbers.

    Raises:
      InputError: it is none of these, or there is no such task.
    """
    if not text:
      return cls(jax.process_index(), jax.process_count())
    match = re.fullmatch(r'(\d+|auto)(?:/(\d+))?', text)
    if not match or not (match[2] or text == 'auto'):
      raise InputError(
        f'--shard={text}: write i/n (i from 0 to n - 1), auto, or auto/n.'
      )
    if match[1] == 'auto':
      told = int(match[2]) if match[2] else None
      index, count = _of_environment(environ, told)
    else:
      index, count = int(match[1]), int(match[2])
    if not index < count:
      raise InputError(
        f'--shard={text}: there is no shard {index} of {count}, they count '
        'from 0.'
      )
    return cls(index, count)

  def reads(self, file: int, num_files: int) -> bool:
    """Say whether a file may hold blocks of this shard, see ``owns``."""
    first, last = file * self.count, (file + 1) * self.count - 1
    return first // num_files <= self.index <= last // num_files

  def owns(self, file: int, num_files: int, block: int) -> bool:
    """Say whether a block of a file belongs to this shard.

    A file has ``count`` parts, to which its blocks are dealt out in turn, so
    that nobody has to count them first.  The parts of all files, one after
    another, are cut into ``count`` equal pieces, one a shard: files that share
    out evenly go as a whole, and of others a shard reads those alone that its
    piece lies in.
    """
    part = file * self.count + block % self.count
    return part // num_files == self.index

  def name(self, kind: str, suffix: str) -> str:
    """Return the name of one of its files, 'scores-00003-of-00016.jsonl'."""
    return f'{kind}-{self.index:05d}-of-{self.count:05d}{suffix}'


def _of_environment(
  environ: Mapping[str, str], count: int | None
) -> tuple[int, int]:
  """Return number and count of the task, as its surroundings tell them."""
  if jax.process_count() > 1:
    return jax.process_index(), count or jax.process_count()

  def number(name: str) -> int:
    value = environ.get(name, '')
    if not value.isdecimal():
      raise InputError(
        f'--shard=auto finds {name}={value!r} and no number: give --shard=i/n.'
      )
    return int(value)

  if 'SLURM_ARRAY_TASK_ID' in environ:
    if count is None:
      count = number('SLURM_ARRAY_TASK_COUNT')
      # An array of some tasks alone, run again, would share out otherwise.
      if number('SLURM_ARRAY_TASK_MAX') != count - 1:
        raise InputError(
          'the SLURM array is not 0-(n-1): give the number of all shards, '
          '--shard=auto/n.'
        )
    return number('SLURM_ARRAY_TASK_ID'), count
  if 'JOB_COMPLETION_INDEX' in environ:
    if count is None:
      if 'JOB_COMPLETIONS' not in environ:
        raise InputError(
          'Kubernetes does not tell how many completions a job has: give '
          '--shard=auto/n.'
        )
      count = number('JOB_COMPLETIONS')
    return number('JOB_COMPLETION_INDEX'), count
  raise InputError(
    '--shard=auto finds no SLURM array and no Kubernetes Indexed Job around '
    'it: give --shard=i/n.'
  )


class ShardFiles:
  """The files of a shard in the folder of results.

  Attributes:
    results: where its results go.
    rejects: where the records go that could not be scored.
    temporary_results: where they are written until they are whole.
    temporary_rejects: the same for the rejects.
    finished: the folder of what is found of its blocks, until all is.
  """

  def __init__(
    self,
    folder: epath.Path,
    shard: Shard,
    suffix: str,
    job: Mapping[str, Any],
  ):
    """Name the files.

    Args:
      folder: where.
      shard: which.
      suffix: of the results, '.jsonl.gz'.
      job: what results depend on, JSON values under the keys of ``_PARTS``.
    """
    self._folder, self._shard, self._job = folder, shard, dict(job)
    self.results = folder / shard.name('scores', suffix)
    self.rejects = folder / shard.name('rejects', '.jsonl')
    self._done = folder / shard.name('done', '.json')
    mine = f'{socket.gethostname()}.{os.getpid()}'
    self.temporary_results = folder / f'.{self.results.name}.{mine}'
    self.temporary_rejects = folder / f'.{self.rejects.name}.{mine}'
    self._finished_name = shard.name('.blocks', '')
    # By the job that they are of: another begins anew.
    job_name = hashlib.sha256(json.dumps(self._job).encode()).hexdigest()[:16]
    self.finished = folder / f'{self._finished_name}.{job_name}'

  def is_complete(self) -> bool:
    """Say whether the shard is done, its results being there in full.

    Raises:
      InputError: the folder holds shards of another job.
    """
    mine = _read(self._done)
    others = (_read(self._folder / name) for name in self._complete())
    # The shards of a folder agree with each other: one tells for all.
    self._check(mine or next(filter(None, others), {}))
    return bool(mine) and _is_there(self.results, mine['bytes'])

  def _check(self, state: Mapping[str, Any]) -> None:
    """Raise InputError where a complete shard is of another job."""
    if not state:
      return
    different = [
      text
      for part, text in _PARTS.items()
      if state['job'].get(part) != self._job[part]
    ]
    if state['of'] != self._shard.count:
      different.append(f'number of shards ({state["of"]})')
    if different:
      raise InputError(
        f'{self._folder} holds scores of a job with other '
        f'{", ".join(different)}: give another --output.'
      )

  def commit(
    self, counts: Mapping[str, int], blocks: Sequence[Sequence[int]] = ()
  ) -> None:
    """Put results and rejects in their places, then say that they are whole.

    Args:
      counts: of records and so on, to be kept with it; 'bad' of rejects.
      blocks: numbers of the file, of the block in it, and how many records and
        bad ones it has, of each block: to put shards together by.

    Raises:
      InputError: shards of another job have come into the folder.
    """
    if self.is_complete():  # Another run of the same shard was faster.
      self.discard()
      self._clear()
      return
    state = {
      'shard': self._shard.index,
      'of': self._shard.count,
      'results': self.results.name,
      'bytes': self.temporary_results.stat().length,
      **counts,
      'blocks': [list(block) for block in blocks],
      'job': self._job,
    }
    if counts['bad']:
      self.temporary_rejects.replace(self.rejects)
    else:
      self.rejects.unlink(missing_ok=True)
    self.temporary_results.replace(self.results)
    files.write_json(self._done, state)
    self._clear()

  def _clear(self) -> None:
    """Remove what runs of this shard have left on the way."""
    for path in (self.results, self.rejects):
      for left in self._folder.glob(f'.{path.name}.*'):
        left.unlink(missing_ok=True)
    for left in self._folder.glob(f'{self._finished_name}.*'):
      left.rmtree(missing_ok=True)

  def discard(self) -> None:
    """Remove what is half written."""
    self.temporary_results.unlink(missing_ok=True)
    self.temporary_rejects.unlink(missing_ok=True)

  def num_complete(self) -> int:
    """Return how many shards of the job are complete."""
    return num_complete(self._folder)

  def _complete(self) -> list[str]:
    return _complete(self._folder)


def num_complete(folder: epath.Path) -> int:
  """Return how many shards are complete in a folder of results."""
  return len(_complete(folder))


def _complete(folder: epath.Path) -> list[str]:
  if not folder.exists():
    return []
  names = sorted(path.name for path in folder.iterdir())
  return [name for name in names if _DONE.fullmatch(name)]


def complete_states(folder: epath.Path) -> list[dict[str, Any]]:
  """Return what the shards of a job say, by their numbers.

  Raises:
    InputError: there is no job, or a shard is missing, damaged or of another.
  """
  names = [x.name for x in folder.iterdir()] if folder.is_dir() else []
  found = {
    name: _read(folder / name) for name in names if _DONE.fullmatch(name)
  }
  states = {
    state['shard']: state
    for state in found.values()
    if state and _is_there(folder / state['results'], state['bytes'])
  }
  if not states:
    raise InputError(
      f'there is no complete shard in {folder}: name the --output of a scoring '
      'job.'
    )
  first = next(iter(states.values()))
  count = first['of']
  if any(x['of'] != count or x['job'] != first['job'] for x in states.values()):
    raise InputError(f'{folder} holds shards of several jobs: score again.')
  missing = [i for i in range(count) if i not in states]
  if missing:
    raise InputError(
      f'{len(missing):,} of {count:,} shards in {folder} are not complete '
      f'({messages.listed(map(str, missing))}): score them first.'
    )
  for number in range(count):
    if 'blocks' not in states[number]:
      raise InputError(
        f'shard {number} in {folder} does not say which blocks it has: it was '
        'scored by an earlier version of this program; score it again.'
      )
  return [states[number] for number in range(count)]


def _is_there(path: epath.Path, num_bytes: int) -> bool:
  return path.exists() and path.stat().length == num_bytes


def _read(path: epath.Path) -> dict[str, Any]:
  """Return what a shard said when it was complete; {} if it did not."""
  try:
    state = json.loads(path.read_text())
    there = isinstance(state, dict) and set(state) >= _STATE
    return state if there else {}
  except (OSError, ValueError):
    return {}

"""What is found of a shard's blocks, kept until the shard is whole.

Results of consecutive blocks go to a file now and then, each there whole or not
at all, so that a run that was stopped or killed is taken up by the next one,
wherever that runs.  Two runs of a shard at the same time do no harm: what they
write is the same.  What is kept are fields, not lines of a file: the results
are written as ever, to the same bytes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import re
import time
from typing import Any

from etils import epath

from mrnn_jax.runtime import files

# Seconds of work that a kill may cost, at first, and as a share of all.
_SECONDS, _SHARE = 10.0, 0.01
# Pairs that are held back at most, whatever the time: they are in memory.
_MAX_PAIRS = 100_000
_PIECE = re.compile(r'(\d+)-(\d+)\.jsonl')


@dataclasses.dataclass(frozen=True)
class Finished:
  """What is found of a block.

  Attributes:
    columns: fields of all its pairs, by name.
    log_means: log P(w) of its distinct sentences, where it is asked for.
  """

  columns: Mapping[str, list[Any]]
  log_means: Sequence[float]

  @property
  def num_pairs(self) -> int:
    """How many pairs it has."""
    return len(next(iter(self.columns.values())))


class FinishedBlocks:
  """The finished blocks of a shard, by their numbers in it."""

  def __init__(self, folder: epath.Path):
    """Look at what there is.

    Args:
      folder: where they are kept; made when the first is.
    """
    self._folder = folder
    self._pieces: dict[int, tuple[int, epath.Path]] = {}
    for path in folder.iterdir() if folder.exists() else ():
      if match := _PIECE.fullmatch(path.name):
        first, last = int(match[1]), int(match[2])
        # Two runs may have begun a piece at one block: the longer is taken.
        if last > self._pieces.get(first, (-1,))[0]:
          self._pieces[first] = last, path
    self._read: dict[int, Finished] = {}
    self._waiting: dict[int, Finished] = {}
    self._begin = self._saved = time.monotonic()

  def take(self, number: int) -> Finished | None:
    """Return what is kept of a block, or None; they are asked for in turn."""
    for first, (last, path) in sorted(self._pieces.items()):
      if first <= number:
        del self._pieces[first]
        if number <= last:
          self._read |= _read(path, first, last)
    return self._read.pop(number, None)

  def add(self, number: int, finished: Finished) -> None:
    """Take in a block that is finished, and save now and then."""
    if self._waiting and number != 1 + next(reversed(self._waiting)):
      self.close()
    self._waiting[number] = finished
    now = time.monotonic()
    due = max(_SECONDS, _SHARE * (now - self._begin))
    pairs = sum(x.num_pairs for x in self._waiting.values())
    if now - self._saved >= due or pairs >= _MAX_PAIRS:
      self.close()

  def close(self) -> None:
    """Write down what is not yet: nothing of it is lost from now on."""
    if self._waiting:
      numbers = list(self._waiting)
      lines = [
        json.dumps(dataclasses.asdict(x)) for x in self._waiting.values()
      ]
      text = '\n'.join(lines)
      name = f'{numbers[0]}-{numbers[-1]}.jsonl'
      files.write_text(self._folder / name, f'{_checksum(text)}\n{text}')
    self._waiting = {}
    self._saved = time.monotonic()


def _checksum(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def _read(path: epath.Path, first: int, last: int) -> dict[int, Finished]:
  """Return the blocks of a piece; {} if it is damaged or gone."""
  try:
    checksum, _, text = path.read_text().partition('\n')
  except (OSError, UnicodeDecodeError):
    return {}
  lines = text.split('\n')
  if checksum != _checksum(text) or len(lines) != last - first + 1:
    return {}
  return {
    first + i: Finished(**json.loads(line)) for i, line in enumerate(lines)
  }

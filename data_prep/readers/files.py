"""Find the raw files under a directory and read their lines."""

from collections.abc import Iterator, Sequence
import dataclasses
import fnmatch
import json
from typing import Any

from etils import epath

from data_prep import messages, records
from mrnn_jax import errors

# The names that split lists usually bear; Flickr8K's own are here because its
# captions go round in other forms too.
COMMON_LISTS = {
  'train': (
    'train.txt',
    'trainImages.txt',
    'train_list.txt',
    'Flickr_8k.trainImages.txt',
  ),
  'validation': (
    'val.txt',
    'validation.txt',
    'dev.txt',
    'valid.txt',
    'devImages.txt',
    'valImages.txt',
    'val_list.txt',
    'validation_list.txt',
    'Flickr_8k.devImages.txt',
  ),
  'test': (
    'test.txt',
    'testImages.txt',
    'test_list.txt',
    'Flickr_8k.testImages.txt',
  ),
}

# Beyond these a file is not what it is given as, or nothing good will come of
# reading it: all captions of COCO are 0.1 GB.
MAX_FILE_BYTES = 2 * 2**30
MAX_LINE_BYTES = 10 * 2**20
# Each takes sixty bytes or more in memory, and as few as two in the file; those
# of COCO's captions are a tenth of this.
MAX_JSON_VALUES = 50_000_000
# What is packed to less is made to fill the memory; small files may be.
MAX_PACKING = 100
_SMALL_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class RawFiles:
  """Where the raw data lies: a directory, and files named one by one.

  Attributes:
    raw_dir: the directory that is searched for the usual file names, itself
      and one folder down.
    captions: the captions file (or directory), instead of the usual name;
      several, separated by commas, where a dataset comes in several.
    train_list: the list of training images, instead of the usual name.
    validation_list: the list of validation images.
    test_list: the list of test images.
    seed: decides which images make a split that is named nowhere.
    validation_share: how many of all images make a validation split that is
      named nowhere; None: a tenth.
    test_share: the same for the test split.
    restval: whether images of Karpathy's split ``restval`` are for training.
  """

  raw_dir: str | None = None
  captions: str | None = None
  train_list: str | None = None
  validation_list: str | None = None
  test_list: str | None = None
  seed: int = 0
  validation_share: float | None = None
  test_share: float | None = None
  restval: bool = True

  def find(
    self, flag: str, names: Sequence[str], required: bool = True
  ) -> epath.Path | None:
    """Return the path of a flag, or of the first usual name that exists.

    Args:
      flag: the name of the attribute (and command-line flag) that overrides.
      names: usual names, the most telling first; any case matches.
      required: raise if there is none.

    Returns:
      The path, or None if nothing was found and nothing is required.

    Raises:
      InputError: the file that a flag names is missing, a usual name stands
        in two folders, or nothing is found.
    """
    given = getattr(self, flag)
    if given:
      path = epath.Path(given)
      if not path.exists():
        raise errors.InputError(f'There is no {path}: correct --{flag}.')
      return path
    if not self.raw_dir:
      if required:
        raise errors.InputError(
          f'Say where the raw data lies with --raw_dir, or give --{flag}.'
        )
      return None
    levels = self._levels()
    for name in names:
      for level in levels:
        found = [path for path in level if path.name.lower() == name.lower()]
        if len(found) > 1:
          raise self._both(flag, found)
        if found:
          return found[0]
    if not required:
      return None
    raise self._nothing(flag, names)

  def find_all(
    self, flag: str, patterns: Sequence[str], several: bool = False
  ) -> list[epath.Path]:
    """Return the paths of a flag, or those whose name fits a pattern.

    Args:
      flag: the name of the attribute, which may name several, by commas.
      patterns: of usual names, with ``*``, the most telling first; any case
        matches.
      several: whether all that fit belong together; else the first pattern
        that fits must tell the one.

    Returns:
      At least one path; if they were found by name, all on one level.

    Raises:
      InputError: a file that a flag names is missing, nothing is found, or
        more than may be.
    """
    given = getattr(self, flag)
    if given:
      if epath.Path(given).exists():
        return [epath.Path(given)]
      paths = [epath.Path(name.strip()) for name in given.split(',')]
      for path in paths:
        if not path.exists():
          raise errors.InputError(f'There is no {path}: correct --{flag}.')
      return paths
    if not self.raw_dir:
      raise errors.InputError(
        f'Say where the raw data lies with --raw_dir, or give --{flag}.'
      )
    for level in self._levels():
      found = []
      for pattern in patterns:
        if several or not found:
          found += [path for path in level if _fits(path.name, pattern)]
      if len(found) > 1 and not several:
        raise self._both(flag, found)
      if found:
        return list(dict.fromkeys(found))
    raise self._nothing(flag, patterns)

  def _levels(self) -> tuple[list[epath.Path], list[epath.Path]]:
    """Return what lies in ``raw_dir``, and what lies one folder down."""
    root = epath.Path(self.raw_dir)
    if not root.is_dir():
      raise errors.InputError(
        f'There is no directory {root}: correct --raw_dir.'
      )
    here = sorted(root.iterdir())
    below = [
      path
      for folder in here
      if not folder.suffix and folder.is_dir()
      for path in sorted(folder.iterdir())
    ]
    return here, below

  def _both(self, flag: str, found: Sequence[epath.Path]) -> errors.InputError:
    """Return the error that more than one was found."""
    return errors.InputError(
      f'Both {found[0]} and {found[1]} could be meant: say which with --{flag}.'
    )

  def _nothing(self, flag: str, names: Sequence[str]) -> errors.InputError:
    """Return the error that nothing of these names was found."""
    return errors.InputError(
      f'None of {", ".join(names[:3])}{", ..." if len(names) > 3 else ""} lies'
      f' in {self.raw_dir} or one folder down: give the file with --{flag}.'
    )


def _fits(name: str, pattern: str) -> bool:
  return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def read_text(path: epath.Path, encoding: str = 'utf-8') -> str:
  """Read a text file, any line ends, an optional byte order mark.

  Args:
    path: the file.
    encoding: 'utf-8' or 'latin-1'.

  Returns:
    Its text.

  Raises:
    InputError: it cannot be read, or its bytes are not in the encoding.
  """
  data = read_bytes(path)
  try:
    text = data.decode(encoding)
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise errors.InputError(
      f'{path}:{line} is not UTF-8 (byte 0x{data[error.start]:02x}): convert'
      ' the file to UTF-8.'
    ) from error
  return text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')


def read_bytes(path: epath.Path) -> bytes:
  """Return a whole file, if it is no larger than it should be."""
  try:
    with path.open('rb') as file:
      data = file.read(MAX_FILE_BYTES + 1)
  except OSError as error:
    raise errors.InputError(
      f'Cannot read {path} ({error.strerror or error}): check the path.'
    ) from error
  if len(data) > MAX_FILE_BYTES:
    raise errors.InputError(
      f'{path} is larger than {MAX_FILE_BYTES >> 30} GB: give a file of'
      ' captions, or split it.'
    )
  return data


def is_packed_too_well(size: int, packed: int) -> bool:
  """Whether content of a size is large, and made to be: see MAX_PACKING."""
  return size > max(_SMALL_BYTES, MAX_PACKING * packed)


def check_packing(path: epath.PathLike, size: int, packed: int) -> None:
  """Refuse content that takes far more memory than the file has bytes.

  Args:
    path: the file.
    size: of the content in memory, in bytes.
    packed: of the content in the file.

  Raises:
    InputError: it is more than ``MAX_PACKING`` times as large, and large.
  """
  if is_packed_too_well(size, packed):
    raise errors.InputError(
      f'{path} would become {size / 2**30:,.0f} GB of {packed:,} bytes, more'
      f' than {MAX_PACKING} times as much: save it again without compression.'
    )


def read_lines(path: epath.Path) -> Iterator[tuple[int, str]]:
  """Yield the lines of a UTF-8 file with their numbers, ends included.

  Only the line feed ends a line: others may stand within quoted text.

  Raises:
    InputError: it cannot be read, a line is longer than ``MAX_LINE_BYTES`` or
      not UTF-8.
  """
  try:
    with path.open('rb') as file:
      for number in range(1, MAX_FILE_BYTES):
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
          return
        if len(line) > MAX_LINE_BYTES:
          raise errors.InputError(
            f'{path}:{number} is longer than {MAX_LINE_BYTES >> 20} MB: give a'
            ' file of captions, one image or caption a line.'
          )
        try:
          text = line.decode('utf-8')
        except UnicodeDecodeError as error:
          raise errors.InputError(
            f'{path}:{number} is not UTF-8 (byte 0x{line[error.start]:02x}):'
            ' convert the file to UTF-8.'
          ) from error
        yield number, text.removeprefix('\ufeff') if number == 1 else text
  except OSError as error:
    raise errors.InputError(
      f'Cannot read {path} ({error.strerror or error}): check the path.'
    ) from error


def read_json(path: epath.Path) -> dict[str, Any]:
  """Read a file that holds one JSON object.

  Raises:
    InputError: it cannot be read or is no JSON, with the line of the mistake.
  """
  text = read_text(path)
  value = parse_json(text, str(path))
  if not isinstance(value, dict):
    raise errors.InputError(
      f'{path} is no JSON object but begins with'
      f' {messages.shorten(text.strip())}: give'
      " COCO's or Karpathy's file, or JSON lines in a .jsonl file."
    )
  return value


def parse_json(text: str, source: str, line: int = 1) -> Any:
  """Parse JSON; ``line`` is the number of the first line, for messages."""
  if sum(text.count(c) for c in '[{,') > MAX_JSON_VALUES:
    raise errors.InputError(
      f'{source}:{line} is JSON of more than {MAX_JSON_VALUES:,} values: give a'
      ' file of captions, or split it.'
    )
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise errors.InputError(
      f'{source}:{line + error.lineno - 1} is no JSON ({error.msg} at column'
      f' {error.colno}): correct it.'
    ) from error
  except RecursionError as error:
    raise errors.InputError(
      f'{source}:{line} is JSON nested too deeply to be captions.'
    ) from error
  except ValueError as error:  # For example a number of 5,000 digits.
    raise errors.InputError(
      f'{source}:{line} is JSON that cannot be read'
      f' ({messages.first_line(error)}).'
    ) from error


def read_list(path: epath.Path) -> list[str]:
  """Read a split list: one image name a line, empty lines aside.

  Args:
    path: the file, UTF-8.

  Returns:
    The names in order.

  Raises:
    InputError: the file cannot be read or a line cannot be a name.
  """
  names = []
  for number, line in enumerate(read_text(path).split('\n'), start=1):
    name = line.strip()
    if not messages.is_name(name):
      raise errors.InputError(
        f'{path}:{number} is not the name of one image: give a file with one'
        ' image name a line.'
      )
    if name:
      names.append(name)
  return names


def drop_repeated(
  split: str, names: Sequence[str]
) -> tuple[list[str], list[records.Oddity]]:
  """Keep the first of names that a list repeats, however it spells them.

  Args:
    split: the split's name, for the report.
    names: the names of its list.

  Returns:
    The names without repetition, and an oddity if there was one.
  """
  kept: dict[str, str] = {}
  repeated = []
  for name in names:
    key = records.image_key(name)
    if key in kept:
      repeated.append(name)
    kept.setdefault(key, name)
  oddities = []
  if repeated:
    what = f'repeated names in the {split} list (used once)'
    oddities = [records.Oddity(what, tuple(repeated))]
  return list(kept.values()), oddities

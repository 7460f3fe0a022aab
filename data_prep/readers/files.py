"""Find the raw files under a directory and read their lines."""

from collections.abc import Sequence
import dataclasses

from etils import epath

from data_prep import records
from mrnn_jax import errors

# The names that split lists usually bear, besides a dataset's own.
COMMON_LISTS = {
  'train': ('train.txt', 'trainImages.txt', 'train_list.txt'),
  'validation': (
    'val.txt',
    'validation.txt',
    'dev.txt',
    'valid.txt',
    'devImages.txt',
    'valImages.txt',
    'val_list.txt',
    'validation_list.txt',
  ),
  'test': ('test.txt', 'testImages.txt', 'test_list.txt'),
}


@dataclasses.dataclass(frozen=True)
class RawFiles:
  """Where the raw data lies: a directory, and files named one by one.

  Attributes:
    raw_dir: the directory that is searched for the usual file names, itself
      and one folder down.
    captions: the captions file (or directory), instead of the usual name.
    train_list: the list of training images, instead of the usual name.
    validation_list: the list of validation images.
    test_list: the list of test images.
    seed: decides which images make a validation split that has no list.
  """

  raw_dir: str | None = None
  captions: str | None = None
  train_list: str | None = None
  validation_list: str | None = None
  test_list: str | None = None
  seed: int = 0

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
    for name in names:
      for level in (here, below):
        found = [path for path in level if path.name.lower() == name.lower()]
        if len(found) > 1:
          raise errors.InputError(
            f'Both {found[0]} and {found[1]} could be meant: say which with'
            f' --{flag}.'
          )
        if found:
          return found[0]
    if not required:
      return None
    raise errors.InputError(
      f'None of {", ".join(names[:3])}{", ..." if len(names) > 3 else ""} lies'
      f' in {root} or one folder down: give the file with --{flag}.'
    )


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
  try:
    data = path.read_bytes()
  except OSError as error:
    raise errors.InputError(
      f'Cannot read {path} ({error.strerror or error}): check the path.'
    ) from error
  try:
    text = data.decode(encoding)
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise errors.InputError(
      f'{path}:{line} is not UTF-8 (byte 0x{data[error.start]:02x}): convert'
      ' the file to UTF-8.'
    ) from error
  return text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')


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
    if '\t' in name or '\0' in name:
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

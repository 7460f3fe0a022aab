"""Find the raw files under a directory: split lists, captions."""

from collections.abc import Sequence
import dataclasses
import fnmatch

from etils import epath

from data_prep import records
from mrnn_jax.data import image_names
from mrnn_jax.runtime import bounded_files, errors

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
      found: list[epath.Path] = []
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


def read_split(
  split: str, path: epath.Path, known: image_names.Names
) -> tuple[list[str], list[records.Oddity]]:
  """Read the list of a split.

  Args:
    split: its name, for the report.
    path: the list.
    known: the images that have captions; one for the lists of all splits.

  Returns:
    The images as the captions spell them, or as the list does where they have
    none; and an oddity if a name is repeated, which is used once.

  Raises:
    InputError: the list cannot be read, or a name fits several images.
  """
  kept: dict[str, str] = {}
  repeated = []
  for name in bounded_files.read_list(path):
    try:
      number = known.claim(name)
    except errors.InputError as error:
      raise errors.InputError(f'In {path}, {error}') from error
    image_id = name if number is None else known.spelled(number)
    key = image_names.image_key(image_id)
    if key in kept:
      repeated.append(name)
    kept.setdefault(key, image_id)
  oddities = []
  if repeated:
    what = f'repeated names in the {split} list (used once)'
    oddities = [records.Oddity(what, tuple(repeated))]
  return list(kept.values()), oddities

"""What to build, and which of that may be said together."""

import dataclasses
import re

from data_prep.readers import DATASETS, READERS
from mrnn_jax.data import datasets
from mrnn_jax.runtime import beam_engine, errors

# What describes a dataset from outside; scenes needs none of it.
FILE_FLAGS = (
  'raw_dir',
  'captions',
  'format',
  'features',
  'feature_ids',
  'photos',
  'photo_size',
  'encoder',
)
SPLIT_FLAGS = (
  'train_list',
  'validation_list',
  'test_list',
  'validation_share',
  'test_share',
  'restval',
)
_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_-]{0,59}')
_MIN_SCENES = 40
PHOTO_SIZES = (8, 1024)


@dataclasses.dataclass(frozen=True)
class BuildConfig:
  """What the flags say, see ``build.define_flags``."""

  dataset: str
  raw_dir: str | None = None
  captions: str | None = None
  format: str | None = None
  train_list: str | None = None
  validation_list: str | None = None
  test_list: str | None = None
  features: str | None = None
  feature_ids: str | None = None
  photos: str | None = None
  photo_size: int | None = None
  encoder: str | None = None
  validation_share: float | None = None
  test_share: float | None = None
  restval: bool = True
  num_scenes: int | None = None
  seed: int = 0
  data_dir: str | None = None
  overwrite: bool = False
  beam_runner: str | None = None
  beam_options: str | None = None

  def __post_init__(self):
    if not self.dataset:
      raise errors.InputError(
        f'Say what to build with --dataset: {", ".join(DATASETS)}, scenes or a'
        ' name for your own data.'
      )
    if not _NAME.fullmatch(self.dataset):
      raise errors.InputError(
        f'--dataset={self.dataset} is no name for a dataset: take letters,'
        ' digits and _, at most 60, a letter first.'
      )
    if self.format and self.format not in READERS:
      raise errors.InputError(
        f'--format={self.format} is not known: take one of'
        f' {", ".join(READERS)}.'
      )
    for split in datasets.SPLITS[1:]:
      share = getattr(self, f'{split}_share')
      if share is not None and not 0 <= share < 1:
        raise errors.InputError(
          f'--{split}_share={share:g} is no share of the images: give a number'
          ' like 0.1.'
        )
    beam_engine.check(self.beam_runner, self.beam_options)
    low, high = PHOTO_SIZES
    if self.photo_size is not None and not low <= self.photo_size <= high:
      raise errors.InputError(
        f'--photo_size={self.photo_size}: give pixels of a side from {low} to'
        f' {high}.'
      )
    if self.dataset == 'scenes':
      flags_of_files = [*FILE_FLAGS, *SPLIT_FLAGS[:-1], 'beam_runner']
      flags_of_files.remove('photo_size')
      given = [name for name in flags_of_files if getattr(self, name)]
      if given:
        raise errors.InputError(
          f'--dataset=scenes draws its own data: leave out --{given[0]}, or'
          ' name another dataset.'
        )
      if self.num_scenes is not None and self.num_scenes < _MIN_SCENES:
        raise errors.InputError(
          f'--num_scenes={self.num_scenes} is too few for three splits: take'
          f' at least {_MIN_SCENES}.'
        )
      return
    if self.num_scenes is not None:
      raise errors.InputError(
        f'--num_scenes is for --dataset=scenes alone: leave it out, since'
        f' {self.dataset} has the images of its files.'
      )
    if not self.features and not self.photos:
      raise errors.InputError(
        f'{self.dataset} needs the features of its images: give their file'
        ' with --features (python -m data_prep.extract makes one from photos),'
        ' or for training an encoder the photos themselves with --photos.'
      )
    if self.photo_size is not None and not self.photos:
      raise errors.InputError(
        f'--photo_size={self.photo_size} is of photos: give them with --photos,'
        ' or leave it out.'
      )

  @property
  def root(self) -> str:
    """TFDS's data directory."""
    return self.data_dir or datasets.default_data_dir()

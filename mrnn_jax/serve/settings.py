"""What the command line of the service says."""

from collections.abc import Sequence
import dataclasses
import hashlib
import ipaddress
import os
import pathlib

from mrnn_jax.runtime import files
from mrnn_jax.runtime.along import PRETRAINED
from mrnn_jax.runtime.errors import InputError

_SMALLEST = {
  'max_photos': 1,
  'max_upload_mb': 1,
  'max_waiting': 1,
  'timeout': 1,
  'rescan': 0,
  'beam_size': 0,
}


@dataclasses.dataclass(frozen=True)
class Settings:
  """What the flags say, see ``__main__``."""

  photos: str = ''
  workdir: str = ''
  model_file: str = ''
  encoder_weights: str = ''
  index: str = ''
  rescan: int = 30
  beam_size: int = 0
  host: str = '127.0.0.1'
  port: int = 8000
  token: str = ''
  cors: str = ''
  max_photos: int = 16
  max_upload_mb: int = 20
  max_waiting: int = 64
  timeout: int = 30

  def __post_init__(self):
    if not self.photos:
      raise InputError('say which photos to serve: --photos=DIR.')
    if self.workdir and self.model_file:
      raise InputError('give --workdir or --model_file, not both.')
    if files.is_remote(self.index):
      raise InputError(
        f'--index={self.index}: name a folder of this machine, since it is '
        'mapped into memory.'
      )
    for name, smallest in _SMALLEST.items():
      if getattr(self, name) < smallest:
        raise InputError(
          f'--{name}={getattr(self, name)} is too small: at least {smallest}.'
        )
    if not 0 <= self.port < 65536:
      raise InputError(f'--port={self.port}: choose one of 0 to 65535.')
    for origin in self.origins:
      if not origin.startswith(('http://', 'https://')) or origin.endswith('/'):
        raise InputError(
          f'--cors={origin}: give origins as browsers name them, for example '
          'https://example.org.'
        )

  @property
  def origins(self) -> Sequence[str]:
    """The origins whose pages may call the service."""
    return tuple(filter(None, map(str.strip, self.cors.split(','))))

  @property
  def folder(self) -> pathlib.Path:
    """The folder of the photos."""
    return pathlib.Path(self.photos).expanduser().absolute()

  @property
  def model_path(self) -> str:
    """The workdir or file of the model."""
    return self.workdir or self.model_file or PRETRAINED

  @property
  def index_folder(self) -> pathlib.Path:
    """Where the index is: as named, or in the user's cache."""
    if self.index:
      return pathlib.Path(self.index).expanduser().absolute()
    real = os.path.realpath(self.folder)
    name = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    folder = f'{os.path.basename(real)[:40]}-{name}'
    return pathlib.Path(files.user_cache()) / 'photos' / folder

  @property
  def is_local(self) -> bool:
    """Whether nobody but this machine reaches the service."""
    if self.host == 'localhost':
      return True
    try:
      return ipaddress.ip_address(self.host).is_loopback
    except ValueError:
      return False


def secret(text: str) -> str:
  """Return a token: as given, or for ``@FILE`` what stands in the file.

  Raises:
    InputError: the file cannot be read, or the token is too short to be one.
  """
  if text.startswith('@'):
    try:
      text = pathlib.Path(text[1:]).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
      raise InputError(
        f'--token={text}: the file cannot be read: check the path.'
      ) from error
    if not text:
      raise InputError('the file of --token is empty: write the token into it.')
  if text and (len(text) < 8 or not text.isascii() or not text.isprintable()):
    raise InputError(
      '--token must have 8 or more characters of plain ASCII, so that nobody '
      'guesses it.'
    )
  return text

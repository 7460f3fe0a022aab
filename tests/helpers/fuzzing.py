"""Damaged files for every reader, and what a reader may do with them.

An input is a function of its kind and its number, so whatever fails can be made
again: ``python tests/helpers/fuzzing.py KIND NUMBER FILE`` writes one.
"""

from collections.abc import Callable
import copy
import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import random
import struct
import sys
import zipfile
import zlib

import numpy as np

Make = Callable[[], list[bytes]]
Read = Callable[[pathlib.Path], object]

# Texts and numbers at which readers break.
_TEXTS = (
  *(b'{', b'}', b'[', b']', b'"', b',', b':', b'\n', b'\r', b'\t', b'\0'),
  *(b'#', b'\\u d800', b'\\ud800', b'\xff\xfe', b'\xef\xbb\xbf', b'null'),
  *(b'-1', b'1e999', b'NaN', b'true', b'[' * 3000, b'{"a":' * 2000),
  *(b'9' * 5000, b'../../x.jpg', b'..', b'/', b'a' * 20_000, b'\xc3'),
  *(b'&#1114112;', b'&#xd800;', b'&#' + b'9' * 5000, b'</DESCRIPTION>', b';'),
  *(b'\x1b[2J', b'\x85', b'\xe2\x80\xa8'),
)
_NUMBERS = (0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
_LONG = (2**63 - 1, 2**64 - 1, 2**62, 2**48)


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of file.

  Attributes:
    suffix: of the file.
    make: returns sound files.
    read: reads one, and looks at all that came of it.
    repack: mutates inside what is packed or has checksums, if it has.
  """

  suffix: str
  make: Make
  read: Read
  repack: Callable[[bytes, random.Random], bytes] | None = None


def mutate(data: bytes, rng: random.Random, other: bytes = b'') -> bytes:
  """Return a damaged copy; ``other`` is another file to take pieces from."""
  made = bytearray(data)
  for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
    at = rng.randrange(len(made) + 1)
    size = rng.choice((1, 2, 4, 8, 16, 64, 500))
    way = rng.randrange(9)
    if way == 0 and at < len(made):
      made[at] ^= 1 << rng.randrange(8)
    elif way == 1:
      made[at : at + 1] = rng.randbytes(1)
    elif way == 2:
      del made[at:]
    elif way == 3:
      del made[at : at + size]
    elif way == 4:
      made[at:at] = made[at : at + size] * rng.choice((1, 2, 50))
    elif way == 5:
      made[at : at + size] = rng.randbytes(size)
    elif way == 6:
      start = rng.randrange(len(other) + 1)
      made[at : at + size] = other[start : start + size]
    elif way == 7:
      made[at:at] = rng.choice(_TEXTS)
    else:
      order = rng.choice('<>')
      if rng.random() < 0.5:
        number = struct.pack(f'{order}Q', rng.choice(_NUMBERS + _LONG))
      else:
        number = struct.pack(f'{order}I', rng.choice(_NUMBERS) & 0xFFFFFFFF)
      made[at : at + len(number)] = number
  return bytes(made)


def repack_zip(data: bytes, rng: random.Random) -> bytes:
  """Mutate an entry of an archive, whose checksums hold afterwards."""
  target = io.BytesIO()
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    entries = {name: archive.read(name) for name in archive.namelist()}
  victim = rng.choice(list(entries))
  other = rng.choice(list(entries.values()))
  entries[victim] = mutate(entries[victim], rng, other)
  if rng.random() < 0.1:
    entries[rng.choice(('../../x.npy', '/x.npy', 'a' * 999))] = b'x'
  method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
  with zipfile.ZipFile(target, 'w', method) as archive:
    for name, content in entries.items():
      archive.writestr(name, content)
  return target.getvalue()


def repack_matlab(data: bytes, rng: random.Random) -> bytes:
  """Mutate what a packed element of a MATLAB file holds."""
  kind, size = struct.unpack('<II', data[128:136])
  if kind != 15:
    return mutate(data, rng)
  inside = mutate(zlib.decompress(data[136 : 136 + size]), rng)
  packed = zlib.compress(inside)
  return data[:128] + struct.pack('<II', 15, len(packed)) + packed


# Values that JSON may have where another one should be.
_VALUES = (
  *(
    None,
    True,
    False,
    0,
    -1,
    3,
    2**31,
    2**63,
    10**400,
    0.5,
    -0.5,
    1e308,
    1e999,
  ),
  *(float('nan'), '', 'x', '\n', '\x1b[2J', '\ud800', 'a' * 2000, '/', '..'),
  *([], {}, [[]], [{}], [1, 'x'], {'x': 1}, {'': None}),
)


def mutate_json(value: object, rng: random.Random) -> object:
  """Return a damaged copy of JSON values: other ones, more, or fewer."""
  value = json.loads(json.dumps(value))
  for _ in range(rng.choice((1, 1, 1, 2, 5))):
    # Every place has a chance, however deep it lies.
    places: list[tuple] = []
    _collect(value, places)
    if not places:
      return rng.choice(_VALUES)
    inner, key = rng.choice(places)
    way = rng.randrange(6)
    if way == 0:
      del inner[key]
    elif way == 1 and isinstance(inner, dict):
      inner[rng.choice(('x', '', '\n', 'a' * 500, '__class__'))] = inner.pop(
        key
      )
    elif way == 2:
      other, place = rng.choice(places)
      if place in other if isinstance(other, dict) else place < len(other):
        # Not a part of itself.
        inner[key] = json.loads(json.dumps(other[place]))
    else:
      inner[key] = copy.deepcopy(rng.choice(_VALUES))
  return value


def _collect(value: object, places: list[tuple]) -> None:
  if isinstance(value, dict | list):
    keys = value if isinstance(value, dict) else range(min(len(value), 20))
    for key in keys:
      places.append((value, key))
      _collect(value[key], places)


def repack_json(data: bytes, rng: random.Random) -> bytes:
  """Mutate the values of JSON, which stays JSON."""
  return as_json(mutate_json(json.loads(data), rng))


def repack_json_lines(data: bytes, rng: random.Random) -> bytes:
  """Mutate the values of one line of JSON."""
  lines = data.splitlines()
  at = rng.randrange(len(lines))
  lines[at] = repack_json(lines[at], rng)
  return b'\n'.join(lines)


def repack_gzip(data: bytes, rng: random.Random) -> bytes:
  """Mutate what is packed; its checksum holds afterwards."""
  return gzip.compress(mutate(gzip.decompress(data), rng), mtime=0)


def make_input(name: str, kind: Kind, number: int) -> bytes:
  """Return an input, always the same for a kind and a number."""
  digest = hashlib.sha256(f'{name} {number}'.encode()).digest()
  rng = random.Random(digest)
  samples = samples_of(name, kind)
  data = rng.choice(samples)
  if number < len(samples):
    return samples[number]
  if rng.random() < 0.03:
    return rng.randbytes(rng.choice((0, 1, 7, 100, 3000)))
  if kind.repack and rng.random() < 0.6:
    return kind.repack(data, rng)
  return mutate(data, rng, rng.choice(samples))


_samples: dict[str, list[bytes]] = {}


def samples_of(name: str, kind: Kind) -> list[bytes]:
  """Return the sound files of a kind, made once."""
  if name not in _samples:
    _samples[name] = kind.make()
  return _samples[name]


def saved(save: Callable[..., object], *args, **kwargs) -> bytes:
  """Return what a function writes into a file."""
  buffer = io.BytesIO()
  save(buffer, *args, **kwargs)
  return buffer.getvalue()


def is_plain(text: str) -> bool:
  """Whether a message is one sentence that can be printed."""
  try:
    text.encode('utf-8')
  except UnicodeEncodeError:
    return False
  return 0 < len(text) < 5000 and '\n' not in text and '\r' not in text


def as_json(value: object) -> bytes:
  return json.dumps(value).encode()


def numbers(*shape: int, dtype=np.float32) -> np.ndarray:
  """Return an array that holds the same in every process."""
  return np.random.default_rng(0).normal(size=shape).astype(dtype)


if __name__ == '__main__':
  sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
  import fuzz_kinds

  wanted, chosen, target_name = sys.argv[1:]
  pathlib.Path(target_name).write_bytes(
    make_input(wanted, fuzz_kinds.KINDS[wanted], int(chosen))
  )

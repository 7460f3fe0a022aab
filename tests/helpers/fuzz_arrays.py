"""Damaged arrays and photos: kinds of files, sound ones, their readers."""

import io
import sys

import fuzzing
from fuzzing import Kind
import h5py
import numpy as np
from PIL import Image
import scipy.io
import weights_files

from mrnn_jax.data import feature_files
from mrnn_jax.encoders import photos, weights

_NAMES = [f'0{i % 3}/{i}.jpg' for i in range(24)]


# Features.


def _features(path):
  table = feature_files.load(path)
  for name in table.ids:
    table.get(name).sum()
  table.encoder.name.encode('utf-8')
  return len(table)


def _beside(path):
  """Read features whose names stand in a file beside them."""
  ids = path.with_suffix('.txt')
  if not ids.exists():
    ids.write_text('\n'.join(_NAMES))
  return _features(path)


def _npz():
  values = fuzzing.numbers(24, 6)
  named = {'ids': np.array(_NAMES), 'encoder': 'vgg', 'weights': 'ab'}
  return [
    fuzzing.saved(np.savez, features=values.astype(np.float16), **named),
    fuzzing.saved(np.savez_compressed, features=values, ids=np.arange(24)),
    fuzzing.saved(
      np.savez, features=values, ids=np.array([n.encode() for n in _NAMES])
    ),
  ]


def _npy():
  values = fuzzing.numbers(24, 6)
  return [
    fuzzing.saved(np.save, values),
    fuzzing.saved(np.save, np.asfortranarray(values, np.float64)),
    fuzzing.saved(np.lib.format.write_array, values, version=(2, 0)),
    fuzzing.saved(np.save, np.array(['a', 1], object), allow_pickle=True),
  ]


def _matlab():
  values = fuzzing.numbers(6, 24)
  return [
    fuzzing.saved(
      scipy.io.savemat, {'feats': values, 'n': 3}, do_compression=packed
    )
    for packed in (False, True)
  ]


def _hdf5(user_block=0):
  """Return files of several layouts, as MATLAB writes them or not."""

  def make():
    made = []
    values = fuzzing.numbers(24, 6)
    for options in ({}, {'chunks': (6, 6), 'compression': 4}):
      buffer = io.BytesIO()
      with h5py.File(buffer, 'w', userblock_size=user_block) as file:
        file.create_dataset('features', data=values, **options)
        if not user_block:
          file.create_dataset('ids', data=[n.encode() for n in _NAMES])
          file.attrs['encoder'] = 'vgg'
      made.append(buffer.getvalue())
    if not user_block:
      buffer = io.BytesIO()
      with h5py.File(buffer, 'w') as file:
        for name, row in zip(_NAMES, values, strict=True):
          file.create_dataset(name, data=row)
      made.append(buffer.getvalue())
    return made

  return make


# Weights.


def _weights(path):
  found = weights.load(path)
  for name, tensor in found.tensors.items():
    str(name).encode('utf-8', 'replace')
    np.asarray(tensor).reshape(-1)[:100].tolist()
  return len(found.tensors)


def _torch(write):
  def make():
    with weights_files.torch_modules():
      made = [write(*weights_files.state(), protocol) for protocol in (2, 4)]
    hostile = b'cposix\nsystem\n(S"touch /tmp/fuzzed"\ntR.'
    return [*made, b'\x80\x02' + hostile]

  return make


def _safetensors():
  values = fuzzing.numbers(4, 6)
  return [
    weights_files.safetensors(
      {
        'a': ('F32', values),
        'b': ('F16', values.astype(np.float16)),
        'c': ('I64', np.arange(3)),
      }
    )
  ]


def _npz_weights():
  values = fuzzing.numbers(4, 6)
  return [
    fuzzing.saved(np.savez, a=values, b=np.arange(3)),
    fuzzing.saved(np.savez_compressed, a=values),
  ]


# Photos.


def _image(*formats_and_options):
  def make():
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    image = small.resize((40, 32), Image.Resampling.BICUBIC)
    made = []
    for name, mode, options in formats_and_options:
      made.append(fuzzing.saved(image.convert(mode).save, name, **options))
    return made

  return make


def _photo(path):
  pixels = photos.read(str(path), 8, 'squash')
  assert pixels.shape == (8, 8, 3)
  return pixels


_PHOTOS = {
  'jpg': (
    ('JPEG', 'RGB', {}),
    ('JPEG', 'L', {'progressive': True}),
    ('JPEG', 'CMYK', {}),
  ),
  'png': (('PNG', 'RGBA', {}), ('PNG', 'P', {}), ('PNG', 'I;16', {})),
  'gif': (('GIF', 'P', {}),),
  'bmp': (('BMP', 'RGB', {}), ('BMP', 'P', {})),
  'webp': (('WEBP', 'RGB', {}), ('WEBP', 'RGBA', {'lossless': True})),
  'tif': (
    ('TIFF', 'RGB', {}),
    ('TIFF', 'L', {'compression': 'tiff_lzw'}),
    ('TIFF', 'F', {}),
  ),
  'jp2': (('JPEG2000', 'RGB', {}),),
  'avif': (('AVIF', 'RGB', {}),),
  'ppm': (('PPM', 'RGB', {}), ('PPM', 'L', {})),
}

_zip, _mat = fuzzing.repack_zip, fuzzing.repack_matlab


def _in_archive(data, rng):
  return (
    _zip(data, rng) if data.startswith(b'PK') else fuzzing.mutate(data, rng)
  )


KINDS: dict[str, Kind] = {
  'features npz': Kind('.npz', _npz, _features, _zip),
  'features npy': Kind('.npy', _npy, _beside),
  'features matlab 5': Kind('.mat', _matlab, _beside, _mat),
  'features matlab 7.3': Kind('.mat', _hdf5(512), _beside),
  'features hdf5': Kind('.h5', _hdf5(), _features),
  'weights pth': Kind(
    '.pth', _torch(weights_files.zipped), _weights, _in_archive
  ),
  'weights pth legacy': Kind('.pth', _torch(weights_files.legacy), _weights),
  'weights safetensors': Kind('.safetensors', _safetensors, _weights),
  'weights npz': Kind('.npz', _npz_weights, _weights, _zip),
  **{
    f'photo {suffix}': Kind(f'.{suffix}', _image(*ways), _photo)
    for suffix, ways in _PHOTOS.items()
  },
}

assert sys.byteorder == 'little'

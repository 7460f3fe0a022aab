"""What is fuzzed: every kind of file, with sound ones and its reader."""

import io
import json
import pickle
import sys
import tempfile

import fuzzing
from fuzzing import Kind
import h5py
import numpy as np
from PIL import Image
import scipy.io
import weights_files

from data_prep import checks
from data_prep.readers import READERS, formats, raw_files
from mrnn_jax.data import feature_files, image_names
from mrnn_jax.encoders import photos, weights
from mrnn_jax.runtime import bounded_files

_NAMES = [f'0{i % 3}/{i}.jpg' for i in range(24)]
_TEXTS = ['A dog runs , fast .', 'Caf\xe9 "au lait"', '\u732b & <b>', 'x']
_ROWS = [
  (name, _TEXTS[(i + k) % 4], ('train', 'val', 'test')[i % 3])
  for i, name in enumerate(_NAMES)
  for k in range(1 + i % 2)
]


def _by_image() -> dict[str, tuple[list[str], str]]:
  found: dict[str, tuple[list[str], str]] = {}
  for name, text, split in _ROWS:
    found.setdefault(name, ([], split))[0].append(text)
  return found


# Captions.


def _captions(reader, recognise=True):
  """Return what reads captions and goes on with them as a build does."""

  def read(path):
    given = raw_files.RawFiles(captions=str(path))
    if recognise:
      formats.choose('mine', given)
    raw = READERS[reader](given)
    checked = checks.check_captions('mine', raw)
    for rows in checked.splits.values():
      for row in rows:
        # As they are written later.
        for text in (row.image_id, *row.captions):
          text.encode('utf-8')
    assert '\0' not in checked.report
    return checked.report.encode('utf-8')

  return read


def _csv():
  lines = ['image_id,caption,split']
  for name, text, split in _ROWS:
    quoted = text.replace('"', '""')
    lines.append(f'{name},"{quoted}",{split}')
  tabs = ['caption\timage', *(f'{text}\t{name}' for name, text, _ in _ROWS)]
  return [
    '\n'.join(lines).encode(),
    b'\xef\xbb\xbf' + '\r\n'.join(tabs).replace('"', '').encode(),
  ]


def _jsonl():
  whole = [
    {'image_id': name, 'captions': texts, 'split': split}
    for name, (texts, split) in _by_image().items()
  ]
  single = [
    {'image_id': i, 'caption': text} for i, (_, text, _) in enumerate(_ROWS)
  ]
  return [
    '\n'.join(json.dumps(x) for x in whole).encode(),
    '\n'.join(json.dumps(x, ensure_ascii=False) for x in single).encode(),
  ]


def _coco():
  names = list(_by_image())
  content = {
    'info': {'year': 2014},
    'images': [{'id': i, 'file_name': n} for i, n in enumerate(names)],
    'annotations': [
      {'id': i, 'image_id': names.index(name), 'caption': text}
      for i, (name, text, _) in enumerate(_ROWS)
    ],
  }
  return [json.dumps(content).encode(), json.dumps(content, indent=1).encode()]


def _karpathy():
  images = [
    {
      'filename': name,
      'imgid': i,
      'split': split,
      'sentences': [{'raw': t, 'tokens': t.split()} for t in texts],
    }
    for i, (name, (texts, split)) in enumerate(_by_image().items())
  ]
  tokens = [
    x | {'sentences': [{'tokens': y['tokens']} for y in x['sentences']]}
    for x in images
  ]
  return [
    json.dumps({'images': images, 'dataset': 'x'}).encode(),
    json.dumps({'images': tokens}, ensure_ascii=False).encode(),
  ]


def _token():
  lines = [f'{name}#{k}\t{text}' for k, (name, text, _) in enumerate(_ROWS)]
  return ['\n'.join(lines).encode(), '\r\n'.join(lines[:30]).encode()]


def _mrnn():
  images = [
    {'file_name': name, 'sentences': [t.split() for t in texts], 'id': 7}
    for name, (texts, _) in _by_image().items()
  ]
  made = []
  for protocol in range(6):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
      buffer, {'descr': '|O', 'fortran_order': False, 'shape': (len(images),)}
    )
    array = np.empty(len(images), object)
    array[:] = images
    content = array if protocol % 2 else images
    made.append(buffer.getvalue() + pickle.dumps(content, protocol))
  arrays = [
    x | {'sentences': np.array(x['sentences'][0]), 'split': 'train'}
    for x in images
  ]
  made.append(fuzzing.saved(np.save, np.array(arrays), allow_pickle=True))
  # Programs, and lengths that nobody has.
  head = made[0][: made[0].index(b'\n') + 1]
  for code in (
    b'cos\nsystem\n(S"touch /tmp/fuzzed"\ntR.',
    b'\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.',
    b'\x80\x02]q\x00(X\xff\xff\xff\x7fabc.',
    b'\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.',
    b'r\xff\xff\xff\x7f.',
    b'(' * 3000 + b'.',
    b']' + b'a]' * 2000 + b'.',
    b'](' + b'K\x01' * 9999 + b'eq\x00]' + b'cbuiltins\nlist\nh\x00\x85Ra' * 99,
  ):
    made.append(head + code)
  return made


def _eng():
  return [
    b'<DOC>\n<DOCNO>annotations/00/1.eng</DOCNO>\n<TITLE>x</TITLE>\n'
    b'<DESCRIPTION>a man &amp; a dog; two \xe9 < three;</DESCRIPTION>\n'
    b'</DOC>\n',
    b'<description>; ;\n a house ;</description>',
  ]


def _read_eng(path):
  """Read it as one of the files of a tree."""
  with tempfile.TemporaryDirectory(dir=path.parent) as name:
    folder = path.parent / name
    (folder / '00').mkdir()
    for i in range(5):
      text = b'<DESCRIPTION>one; two;</DESCRIPTION>'
      (folder / '00' / f'{i}.eng').write_bytes(
        path.read_bytes() if i == 2 else text
      )
    (folder / 'train.txt').write_text('00/0\n00/1\n00/2\n')
    (folder / 'test.txt').write_text('00/3\n00/4\n')
    raw = READERS['iaprtc12'](raw_files.RawFiles(raw_dir=str(folder)))
    return checks.check_captions('mine', raw).report.encode('utf-8')


def _lists():
  return ['\n'.join(_NAMES).encode(), '\r\n'.join(_NAMES[:9]).encode() + b'\n']


def _read_list(path):
  names = bounded_files.read_list(path)
  raw_files.drop_repeated('train', names)
  return [image_names.image_key(name) for name in names]


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
  'captions csv': Kind('.csv', _csv, _captions('csv')),
  'captions jsonl': Kind('.jsonl', _jsonl, _captions('jsonl')),
  'captions coco': Kind('.json', _coco, _captions('coco', False)),
  'captions karpathy': Kind('.json', _karpathy, _captions('karpathy')),
  'captions token': Kind('.txt', _token, _captions('token')),
  'captions mrnn': Kind('.npy', _mrnn, _captions('mrnn')),
  'captions iaprtc12': Kind('.eng', _eng, _read_eng),
  'split list': Kind('.txt', _lists, _read_list),
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

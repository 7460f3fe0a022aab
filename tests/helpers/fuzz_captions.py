"""Damaged captions: kinds of files, sound ones, their readers."""

import io
import json
import pickle
import tempfile

import fuzzing
from fuzzing import Kind
import numpy as np

from data_prep import checks
from data_prep.readers import READERS, formats, raw_files
from mrnn_jax.data import image_names
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
  raw_files.read_split('train', path, image_names.Names(names[::2]))
  return [image_names.image_key(name) for name in names]


KINDS: dict[str, Kind] = {
  'captions csv': Kind('.csv', _csv, _captions('csv')),
  'captions jsonl': Kind('.jsonl', _jsonl, _captions('jsonl')),
  'captions coco': Kind('.json', _coco, _captions('coco', False)),
  'captions karpathy': Kind('.json', _karpathy, _captions('karpathy')),
  'captions token': Kind('.txt', _token, _captions('token')),
  'captions mrnn': Kind('.npy', _mrnn, _captions('mrnn')),
  'captions iaprtc12': Kind('.eng', _eng, _read_eng),
  'split list': Kind('.txt', _lists, _read_list),
}

"""One's own captions: four images in every form that they may have."""

import json

from data_prep.readers import READERS, formats, raw_files

CAPTIONS = {
  'a.jpg': ['A dog .', 'Two dogs, one bone .'],
  'b.jpg': ['A cat'],
  'c.jpg': ['A bird "sings"'],
  'd.jpg': ['Caf\xe9'],
}
SPLITS = {
  'train': ['a.jpg', 'b.jpg'],
  'validation': ['c.jpg'],
  'test': ['d.jpg'],
}
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


def csv_text(separator=',', split=True):
  lines = [separator.join(['image_id', 'caption', *['split'] * split])]
  for name, captions in CAPTIONS.items():
    for caption in captions:
      quoted = '"' + caption.replace('"', '""') + '"'
      lines.append(separator.join([name, quoted, *[SPLIT_OF[name]] * split]))
  return '\n'.join(lines) + '\n'


def jsonl_text():
  return ''.join(
    json.dumps({'image_id': name, 'captions': x, 'split': SPLIT_OF[name]})
    + '\n'
    for name, x in CAPTIONS.items()
  )


def karpathy_text(**splits):
  images = [
    {
      'filename': name,
      'imgid': i,
      'split': splits.get(name[0], SPLIT_OF[name].replace('idation', '')),
      'sentences': [{'raw': x, 'tokens': x.lower().split()} for x in captions],
    }
    for i, (name, captions) in enumerate(CAPTIONS.items())
  ]
  return json.dumps({'images': images, 'dataset': 'mine'})


def coco_text(split):
  names = SPLITS[split]
  return json.dumps(
    {
      'info': {},
      'images': [{'id': i, 'file_name': n} for i, n in enumerate(names)],
      'annotations': [
        {'image_id': i, 'id': 7, 'caption': caption}
        for i, n in enumerate(names)
        for caption in CAPTIONS[n]
      ],
    }
  )


FORMS = {
  'csv': {'captions.csv': csv_text()},
  'jsonl': {'captions.jsonl': jsonl_text()},
  'karpathy': {'dataset.json': karpathy_text()},
  'coco': {
    f'annotations/captions_{split}2014.json': coco_text(split)
    for split in SPLITS
  },
}


def write(root, contents):
  for name, text in contents.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
  return raw_files.RawFiles(str(root))


def read(raw, dataset='mine'):
  return READERS[formats.choose(dataset, raw)](raw)


def many(num=40):
  return ''.join(
    f'{{"image_id": "{i:02d}.jpg", "caption": "dog {i}"}}\n' for i in range(num)
  )

"""One's own captions as JSON lines, one image or caption a line.

``{"image_id": "a.jpg", "captions": ["...", "..."], "split": "train"}``; the
split may be missing, and ``"caption": "..."`` may stand for one caption.  Other
keys are reported.
"""

from data_prep import records
from data_prep.readers import gather, raw_files, splits
from mrnn_jax.runtime import errors, json_files

USUAL = ('captions.jsonl', 'captions.ndjson')
_FORM = 'write {"image_id": "a.jpg", "captions": ["...", "..."]}'


def read(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read one or several files of JSON lines.

  Raises:
    InputError: a file is missing, or a line is not as it must be.
  """
  paths = raw.find_all('captions', USUAL)
  gatherer = gather.Gatherer(raw)
  for path in paths:
    for number, value in json_files.read_lines(path, _FORM):
      where = f'{path}:{number}'
      if 'image_id' not in value:
        raise errors.InputError(f'{where} has no "image_id": {_FORM}.')
      captions = value.get('captions')
      if captions is None and 'caption' in value:
        captions = [value['caption']]
      if not isinstance(captions, list):
        raise errors.InputError(f'{where} has no list "captions": {_FORM}.')
      split = next((key for key in splits.COLUMNS if key in value), 'split')
      known = {'image_id', 'captions', 'caption', split}
      gatherer.leave_aside(key for key in value if key not in known)
      gatherer.add(value['image_id'], captions, where, value.get(split))
  return gatherer.finish(str(paths[0]))

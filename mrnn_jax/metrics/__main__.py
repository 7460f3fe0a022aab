"""Measure anybody's captions: ``python -m mrnn_jax.metrics --help``."""

import argparse
from collections.abc import Sequence
import json
import sys
from typing import Any

from etils import epath

from mrnn_jax.metrics.measure import measure_captions
from mrnn_jax.runtime import bounded_files, json_files
from mrnn_jax.runtime.errors import InputError

_DESCRIPTION = """\
Measure one caption for each image against references: BLEU-1 to -4, CIDEr-D,
ROUGE-L and how varied the captions are, printed as JSON (fractions).  Both
sides are tokenised alike.
"""


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command line and return its exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m mrnn_jax.metrics', description=_DESCRIPTION
  )
  parser.add_argument(
    'hypotheses',
    metavar='HYPOTHESES.jsonl',
    help='JSON lines {"image_id": ..., "caption": "..."}, one for each image',
  )
  parser.add_argument(
    'references',
    metavar='REFERENCES.jsonl',
    help='JSON lines {"image_id": ..., "captions": ["...", ...]}, the same '
    'images',
  )
  parser.add_argument(
    '--training_captions',
    metavar='FILE',
    help='captions the model was trained on, to count copies: JSON lines of '
    'either form if the file begins with "{", else plain text, one caption a '
    'line',
  )
  args = parser.parse_args(argv)
  try:
    training_captions = None
    if args.training_captions is not None:
      training_captions = _read_training_captions(args.training_captions)
    result = measure_captions(
      _read_by_image(args.hypotheses, 'caption'),
      _read_by_image(args.references, 'captions'),
      training_captions,
    )
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  print(json.dumps(result, indent=2))
  return 0


def _read_by_image(path: str, key: str) -> dict[str, Any]:
  """Return image id -> the value of a key, for every line of a file."""
  values: dict[str, Any] = {}
  first_lines: dict[str, int] = {}
  for number, record in json_files.read_lines(epath.Path(path)):
    where = f'{path}:{number}'
    image_id = record.get('image_id')
    # 7 and "7" are the same image.
    if isinstance(image_id, int) and not isinstance(image_id, bool):
      image_id = str(image_id)
    if not isinstance(image_id, str):
      raise InputError(
        f'{where}: "image_id" must be there, a string or a whole number.'
      )
    if image_id in values:
      raise InputError(
        f'{where}: image {image_id!r} stands on line {first_lines[image_id]} '
        'already.'
      )
    values[image_id] = _captions(record, key, where)
    first_lines[image_id] = number
  if not values:
    raise InputError(f'{path}: there is no line in it.')
  return values


def _read_training_captions(path: str) -> list[str]:
  """Return the captions of a file in any of the three forms."""
  lines = list(bounded_files.read_lines(epath.Path(path)))
  text = ''.join(line for _, line in lines)
  if not text.lstrip().startswith('{'):
    return text.splitlines()
  captions = []
  for number, record in json_files.objects(lines, path):
    where = f'{path}:{number}'
    if 'captions' in record:
      captions += _captions(record, 'captions', where)
    else:
      captions.append(_captions(record, 'caption', where))
  return captions


def _captions(record: dict[str, Any], key: str, where: str) -> Any:
  """Return the string of 'caption' or the list of strings of 'captions'."""
  value = record.get(key)
  if key == 'caption':
    if not isinstance(value, str):
      raise InputError(f'{where}: "caption" must be there, a string.')
  elif (
    not isinstance(value, list)
    or not value
    or not all(isinstance(text, str) for text in value)
  ):
    raise InputError(
      f'{where}: "captions" must be there, a list of at least one string.'
    )
  return value


if __name__ == '__main__':
  sys.exit(main())

"""Readers: one file per raw format, all giving the same raw data.

A reader is a function ``read(files: RawFiles) -> RawDataset``.  To add a
format, write a module with such a function and name it in ``READERS``; to have
it recognised, say how in ``formats``.
"""

from collections.abc import Callable

from data_prep import records
from data_prep.readers import (
  coco,
  flickr,
  iaprtc12,
  json_lines,
  karpathy,
  mrnn,
  raw_files,
  table_file,
)

Reader = Callable[[raw_files.RawFiles], records.RawDataset]

# Datasets whose files bear names of their own.
DATASETS: dict[str, Reader] = {
  'flickr8k': flickr.read_flickr8k,
  'flickr30k': flickr.read_flickr30k,
  'iaprtc12': iaprtc12.read,
}

READERS: dict[str, Reader] = {
  **DATASETS,
  'csv': table_file.read,
  'jsonl': json_lines.read,
  'karpathy': karpathy.read,
  'coco': coco.read,
  'mrnn': mrnn.read,
  'token': flickr.read_token,
}

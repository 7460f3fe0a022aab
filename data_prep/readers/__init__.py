"""Readers: one file per raw format, all giving the same raw data.

A reader is a function ``read(files: RawFiles) -> RawDataset``.  To add a
format, write a module with such a function and name it in ``READERS``.
"""

from collections.abc import Callable

from data_prep import records
from data_prep.readers import files, flickr, iaprtc12

Reader = Callable[[files.RawFiles], records.RawDataset]

READERS: dict[str, Reader] = {
  'flickr8k': flickr.read_flickr8k,
  'flickr30k': flickr.read_flickr30k,
  'iaprtc12': iaprtc12.read,
  'custom': flickr.read_custom,
}

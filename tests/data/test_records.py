"""Records of a dataset, and of several side by side."""

import numpy as np
import pytest

from mrnn_jax.data import datasets
from mrnn_jax.data.records import JoinedRecords
from mrnn_jax.runtime import files as files_lib
from mrnn_jax.runtime.errors import InputError


def test_records_are_put_together_by_image_in_whatever_order():
  def part(order, scale):
    return [
      {
        'image_id': name.encode(),
        'captions': [b'a dog'],
        'feature': np.float32([scale * ord(name)]),
      }
      for name in order
    ]

  joined = JoinedRecords([part('abc', 1), part('bca', 10)], 'both')
  assert [joined[i]['feature'].tolist() for i in range(3)] == [
    [97, 970],
    [98, 980],
    [99, 990],
  ]
  lacking = JoinedRecords([part('abc', 1), part('bd', 1)], 'both')
  with pytest.raises(InputError, match='do not all have a'):
    lacking[0]


def test_a_loop_over_records_ends_with_them(tiny_data_dir):
  records = datasets.open_dataset('tiny', str(tiny_data_dir)).records('test')
  assert len(list(records)) == len(records) == 12
  with pytest.raises(IndexError):
    records[12]


def test_a_path_that_is_there_is_one_path(tmp_path):
  path = tmp_path / 'a,b'
  assert files_lib.split_paths(path) == [f'{tmp_path}/a', 'b']
  path.mkdir()
  assert files_lib.split_paths(path) == [str(path)]

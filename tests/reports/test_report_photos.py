"""Which photo a results page shows for an image."""

from PIL import Image

from mrnn_jax.reports import photos as photos_lib


def test_photos_in_folders_below_are_found_where_no_doubt_is_left(tmp_path):
  names = ['a.jpg', 'cats/1.jpg', 'dogs/1.jpg', 'dogs/2.jpg', 'dogs/notes.txt']
  for name in names:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.new('L', (4, 4)).save(tmp_path / name, 'JPEG')
  where = {
    'a': 'a.jpg',
    'cats/1.jpg': 'cats/1.jpg',
    f'{tmp_path}/dogs/1': 'dogs/1.jpg',
    '2.jpg': 'dogs/2.jpg',
    '1.jpg': '',
    'birds/1.jpg': '',
    'notes': '',
  }
  found = photos_lib.find_photos(str(tmp_path), [*where], str(tmp_path), 0)
  assert found.links == [x and f'./{x}' for x in where.values()]
  assert found.missing == [x for x, path in where.items() if not path]
  # Either of the two may be the one.
  names = ['my/cats/2.jpg', '2.jpg', 'my/dogs/2.jpg', 'dogs/1.jpg', '/dogs/1']
  found = photos_lib.find_photos(str(tmp_path), names, str(tmp_path), 0)
  assert found.links == ['', '', '', './dogs/1.jpg', '']

"""A name finds its image, or nothing, or says what it could mean."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from mrnn_jax.data import image_names
from mrnn_jax.runtime import errors


@pytest.mark.parametrize(
  ('name', 'key'),
  [
    ('25.jpg', '25'),
    ('25', '25'),
    ('images/00/25.jpg', 'images/00/25'),
    ('annotations/00/25.eng', 'annotations/00/25'),
    (' ./cats//./1.JPEG ', 'cats/1'),
    ('/home/me/cats/1.png', 'home/me/cats/1'),
    ('C:\\images\\a.png', 'C:/images/a'),
    ('cats.jpg/1', 'cats.jpg/1'),
    ('2258277193_586949ec62.jpg.1', '2258277193_586949ec62.jpg.1'),
    ('2258277193_586949ec62.jpg', '2258277193_586949ec62'),
    ('.jpg', '.jpg'),
    ('cats/', ''),
    ('..', ''),
    ('./', ''),
  ],
)
def test_image_key(name, key):
  assert image_names.image_key(name) == key


FLAT = ['4.jpg', '5.jpg', 'COCO_val2014_0001.jpg']
IAPR = ['00/25', '01/25', '01/26']
PETS = ['cats/1.jpg', 'dogs/1.jpg', 'dogs/2.jpg']
DEEP = ['/home/me/cats/1.jpg', '/home/me/dogs/1.jpg', '/home/me/dogs/2.jpg']


@pytest.mark.parametrize(
  ('names', 'name', 'found'),
  [
    (FLAT, '4', '4.jpg'),
    (FLAT, 'Flicker8k_Dataset/4.jpg', '4.jpg'),
    (FLAT, 'val2014/COCO_val2014_0001.jpg', 'COCO_val2014_0001.jpg'),
    (FLAT, '14.jpg', None),
    (['val2014/COCO_val2014_0001'], 'COCO_val2014_0001.jpg', 'val2014/COCO_'),
    (IAPR, 'images/00/25.jpg', '00/25'),
    (IAPR, 'annotations\\01\\25.eng', '01/25'),
    (IAPR, '26', '01/26'),
    (IAPR, '02/25', None),
    (PETS, 'cats/1', 'cats/1.jpg'),
    (PETS, '/home/me/photos/cats/1.jpg', 'cats/1.jpg'),
    (PETS, './dogs/2.png', 'dogs/2.jpg'),
    (PETS, '2', 'dogs/2.jpg'),
    # Folders count whole, and other folders are other images.
    (PETS, 'ats/1', None),
    (PETS, 'birds/2', None),
    (PETS, 'wildcats/1', None),
    (DEEP, 'cats/1', '/home/me/cats/1.jpg'),
    (DEEP, 'you/cats/1', None),
    # The same path goes before all others.
    (['1', 'cats/1'], '1.jpg', '1'),
    (['1', 'cats/1'], 'my/cats/1.jpg', 'cats/1'),
    (['a/', 'b'], 'a', None),
  ],
)
def test_a_name_finds_one_image(names, name, found):
  known = image_names.Names(names)
  number = known.find(name)
  if found is None:
    assert number is None
  else:
    assert known.spelled(number).startswith(found)
    assert known.spelled(number) == names[number]


@pytest.mark.parametrize(
  ('names', 'name', 'fits'),
  [
    (PETS, '1.jpg', 'cats/1.jpg or dogs/1.jpg'),
    (DEEP, '1', '/home/me/cats/1.jpg or /home/me/dogs/1.jpg'),
    # It may be the first, or the second by a wrong folder.
    (['1', 'cats/1'], 'dogs/1', '1 or cats/1'),
    ([f'{i}/x' for i in range(9)], 'x', '0/x, 1/x, 2/x or 6 more'),
    (['x', *(f'{i}/x' for i in range(9))], 'a/x', 'x, 0/x, 1/x or 7 more'),
  ],
)
def test_a_name_that_fits_several_finds_none(names, name, fits):
  with pytest.raises(image_names.AmbiguousNameError) as caught:
    image_names.Names(names).find(name)
  assert caught.value.fits == fits
  assert str(caught.value) == (
    f'{name} could be {fits}: name it with its folder.'
  )


PATHS = st.lists(st.sampled_from('ab'), min_size=1, max_size=3)


def _ends_in(long, short):
  return long[len(long) - len(short) :] == short


@settings(deadline=None, max_examples=200)
@given(st.lists(PATHS, max_size=6), PATHS)
def test_what_is_found_can_only_be_that(paths, path):
  """Beside a look at all paths, part by part."""
  names = ['/'.join(x) for x in paths]
  known = image_names.Names(names)
  shorter = [x for x in paths if len(x) < len(path) and _ends_in(path, x)]
  end = max(shorter, key=len, default=path)
  could = {'/'.join(x) for x in paths if _ends_in(x, end)}
  name = '/'.join(path)
  try:
    number = known.find(f'{name}.jpg')
  except image_names.AmbiguousNameError:
    assert name not in names
    assert len(could) > 1
    return
  if name in names:
    assert names[number] == name
  elif number is None:
    assert could == set()
  else:
    assert could == {names[number]}
    assert _ends_in(path, paths[number]) or _ends_in(paths[number], path)


def test_numbers_go_on_where_a_name_is_repeated():
  known = image_names.Names()
  numbers = [known.add(x) for x in ('a.jpg', 'b', 'a', 'c/a', './b.png')]
  assert numbers == [0, 1, 0, 3, 1]
  assert len(known) == 3
  assert [*known.numbers()] == [0, 1, 3]
  # Also of names that come after the first question.
  assert known.find('x/d/e') is None
  assert known.add('d/e') == 5
  assert known.find('x/d/e') == known.find('e') == 5


def test_two_folders_do_not_claim_one_image():
  known = image_names.Names(['1.jpg', '2.jpg'])
  for name in ('1', 'cats/1.jpg', 'my/cats/1.jpg', './cats/1', '2', 'dogs/2'):
    assert known.claim(name) == known.find(name)
  assert known.claim('3') is None
  for name in ('dogs/1.jpg', 'your/cats/1.jpg', 'wildcats/1'):
    with pytest.raises(errors.InputError, match='would both be 1.jpg: name'):
      known.claim(name)
  with pytest.raises(errors.InputError, match='my/cats/1.jpg and dogs/1 '):
    known.claim('dogs/1')


def test_the_same_file_in_another_folder():
  known = image_names.Names(PETS)
  assert known.elsewhere('birds/2.jpg') == 'dogs/2.jpg'
  assert known.elsewhere('birds/3.jpg') is None
  assert image_names.Names(FLAT).elsewhere('birds/6.jpg') is None


def test_many_files_of_one_name_are_no_work():
  num = 30_000
  known = image_names.Names(f'{i}/frame.jpg' for i in range(num))
  start = time.process_time()
  for i in range(num):
    assert known.find(f'/data/{i}/frame.png') == i
    if i % 10 == 0:
      with pytest.raises(image_names.AmbiguousNameError, match='29,997 more'):
        known.find('frame')
  # Looking at all for each would take minutes.
  assert time.process_time() - start < 5

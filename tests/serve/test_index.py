import os
import shutil
import sqlite3
import time

from drawn_photos import draw
import numpy as np
import pytest

from mrnn_jax.runtime.errors import InputError
from mrnn_jax.serve import catalog as catalog_lib
from mrnn_jax.serve import indexer
from mrnn_jax.serve.catalog import Catalog, Known
from mrnn_jax.serve.folder import PhotoFolder
from mrnn_jax.serve.pool import Entry, Pool

ENCODER = {'name': 'net', 'weights': 'ab'}


def open_catalog(folder, encoder=ENCODER, model='m'):
  return Catalog(folder, encoder, 4, model)


def known(name, sha256=None, **more):
  return Known(
    name,
    5,
    6,
    sha256 or f'{name}-hash',
    caption=f'a {name}',
    log_prob=-2.0,
    width=3,
    height=2,
    **more,
  )


def add(catalog, *photos):
  features = np.arange(4 * len(photos), dtype=np.float32).reshape(-1, 4)
  return catalog.add(
    photos, features, {x.sha256: x.sha256.encode() for x in photos}
  )


def test_what_was_added_is_there_again(tmp_path):
  catalog = open_catalog(tmp_path)
  many = [
    known(f'{i:03d}') for i in range(200)
  ]  # More than the file begins with.
  placed = add(catalog, *many)
  assert [x.row for x in placed] == list(range(200))
  catalog.close()
  again = open_catalog(tmp_path)
  assert again.unsound == 0
  assert again.photos() == placed
  np.testing.assert_array_equal(
    again.features()[:200], np.arange(800).reshape(200, 4)
  )
  # The file is what NumPy reads.
  assert np.load(tmp_path / 'features.npy', mmap_mode='r').shape[1] == 4
  assert again.thumbnail_path('007-hash').read_bytes() == b'007-hash'
  again.close()


def test_nothing_is_in_the_index_by_halves(tmp_path, monkeypatch):
  catalog = open_catalog(tmp_path)
  add(catalog, known('a'))
  monkeypatch.setattr(
    catalog_lib.dataclasses, 'astuple', lambda x: 1 / 0
  )  # It ends just before the catalogue is written.
  with pytest.raises(ZeroDivisionError):
    add(catalog, known('b'), known('c'))
  catalog.close()
  monkeypatch.undo()
  again = open_catalog(tmp_path)
  assert [x.name for x in again.photos()] == ['a']
  (b,) = add(again, known('b'))
  assert b.row == 1
  again.close()


def test_damage_is_noticed(tmp_path):
  catalog = open_catalog(tmp_path)
  add(catalog, known('a'), known('b'), known('c'))
  catalog.close()
  rows = np.load(tmp_path / 'features.npy', mmap_mode='r+')
  rows[1, 2] += 1
  rows.flush()
  catalog.thumbnail_path('c-hash').unlink()
  again = open_catalog(tmp_path)
  assert again.unsound == 2
  assert [x.name for x in again.photos()] == ['a']
  again.close()


def test_another_encoder_or_model_begins_anew(tmp_path):
  catalog = open_catalog(tmp_path)
  add(catalog, known('a'))
  catalog.close()
  other = open_catalog(tmp_path, model='other')
  (a,) = other.photos()
  assert a.caption is None
  assert a.row == 0
  other.close()
  other = open_catalog(tmp_path, {'name': 'net', 'weights': 'cd'})
  assert other.photos() == []
  other.close()


def test_removing_frees_what_nobody_has(tmp_path):
  catalog = open_catalog(tmp_path)
  _, b = add(catalog, known('a', 'same'), known('b', 'same'))
  catalog.remove(['a'])
  assert catalog.thumbnail_path('same').exists()
  assert catalog.find_hash('same') == b
  catalog.remove(['b'])
  assert not catalog.thumbnail_path('same').exists()
  assert catalog.find_hash('same') is None
  catalog.close()


def test_the_database_of_another_program_is_left_alone(tmp_path):
  path = tmp_path / 'catalog.sqlite'
  database = sqlite3.connect(path)
  database.execute('CREATE TABLE x (y)')
  database.commit()
  database.close()
  with pytest.raises(InputError, match='another program.*--index'):
    open_catalog(tmp_path)
  (table,) = sqlite3.connect(path).execute('SELECT name FROM sqlite_master')
  assert table == ('x',)


def test_a_damaged_catalogue_is_made_anew(tmp_path, capsys):
  catalog = open_catalog(tmp_path)
  add(catalog, known('a'))
  catalog.close()
  (tmp_path / 'catalog.sqlite').write_bytes(b'SQLite format 3\0' + b'x' * 5000)
  again = open_catalog(tmp_path)
  assert again.photos() == []
  assert 'damaged' in capsys.readouterr().err
  add(again, known('a'))
  again.close()


def test_a_folder_and_nothing_outside(tmp_path):
  folder = tmp_path / 'photos'
  outside = tmp_path / 'outside'
  for path in (folder / 'a.png', folder / 'b' / 'c.JPG', outside / 'd.png'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'x')
  for name in ('.hidden.png', 'note.txt', 'new\nline.png'):
    (folder / name).write_bytes(b'x')
  (folder / 'index' / 'thumbnails').mkdir(parents=True)
  (folder / 'index' / 'thumbnails' / 't.jpg').write_bytes(b'x')
  os.mkfifo(folder / 'pipe.png')  # Whoever reads it waits for ever.
  (folder / 'link.png').symlink_to(outside / 'd.png')
  (folder / 'inner.png').symlink_to(folder / 'a.png')
  (folder / 'linked').symlink_to(outside)
  (folder / 'linked.png').symlink_to(folder / 'b')
  photos = PhotoFolder(folder, folder / 'index')
  assert [x.name for x in photos.scan()] == ['a.png', 'b/c.JPG', 'inner.png']
  assert photos.path_of('../outside/d.png') is None
  assert photos.path_of('link.png') is None
  assert photos.path_of('a.png') == str(folder / 'a.png')


def test_photos_are_listed_by_their_names_as_they_come_and_go():
  def add(*names):
    entries = [Entry(x, '', 0, '', 0.0, 1, 1) for x in names]
    pool.add(entries, np.zeros((len(names), 2), np.float32))

  def listed(first=0, count=9):
    return [x.name for x in pool.listed(first, count)]

  pool = Pool(2)
  add('c', 'a')
  assert listed() == ['a', 'c']
  add('b', 'c')  # One of them anew.
  assert listed() == ['a', 'b', 'c']
  assert listed(1, 1) == ['b']
  pool.remove(['a', 'never'])
  assert listed() == ['b', 'c']


def look(service):
  service.indexer._look()
  return {x.name: x for x in service.catalog.photos()}


@pytest.fixture
def count_encoded(engine, monkeypatch):
  counts = []
  encode = engine.encode

  def counting(squares):
    counts.append(len(squares))
    return encode(squares)

  monkeypatch.setattr(engine, 'encode', counting)
  return counts


def test_the_index_follows_the_folder(
  make_service, photos, engine, count_encoded
):
  service = make_service()
  assert service.indexer.state.phase == 'starting'
  there = look(service)
  assert service.indexer.state.phase == 'ready'
  assert sum(count_encoded) == 6
  assert len(service.indexer.pool) == 6
  assert there['broken.jpg'].reason == 'no image of a known format'
  assert service.indexer.state.unreadable == (
    ('broken.jpg', 'no image of a known format'),
  )
  # What is kept is what encoding gives, and the caption what is written.
  ids, features = engine.model.encode_photos(str(photos))
  for name, feature in zip(ids, features, strict=True):
    kept = service.catalog.features()[there[name].row]
    np.testing.assert_allclose(kept, feature, rtol=1e-5)
    assert there[name].caption == engine.model.caption(feature[None])[0]
    assert (there[name].width, there[name].height) == (40, 30)

  # New, changed, deleted, moved, copied, and touched.
  draw(photos / 'new.png', 50)
  draw(photos / '0.png', 51, (30, 40))
  (photos / '2.png').unlink()
  (photos / 'sub' / '1.png').rename(photos / 'moved.png')
  shutil.copy(photos / '4.png', photos / 'copy.png')
  os.utime(photos / 'sub' / '3.png', ns=(1, 1))
  (photos / 'broken.jpg').unlink()
  count_encoded.clear()
  there = look(service)
  assert sum(count_encoded) == 2
  names = ['0.png', '4.png', 'copy.png', 'moved.png', 'new.png']
  assert sorted(there) == sorted([*names, 'sub/3.png', 'sub/5.png'])
  pool = service.indexer.pool
  assert [x.name for x in pool.listed(0, 99)] == sorted(there)
  assert there['copy.png'].row == there['4.png'].row
  assert (there['0.png'].width, there['0.png'].height) == (30, 40)
  view = pool.view()
  for place in np.flatnonzero(view.alive):
    row = there[view.entries[place].name].row
    np.testing.assert_allclose(
      view.vectors[place],
      engine.readouts.image_vectors(service.catalog.features()[[row]])[0],
      atol=1e-5,
    )

  # A later start has all of it, and encodes nothing.
  count_encoded.clear()
  service.close()
  again = make_service()
  assert len(again.indexer.pool) == 7
  look(again)
  assert not sum(count_encoded)


def test_it_goes_on_where_it_stopped(
  make_service, photos, count_encoded, monkeypatch
):
  monkeypatch.setattr(indexer, '_TOGETHER', 2)
  service = make_service()
  take_in = service.indexer._take_in

  def once(read):
    take_in(read)
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(service.indexer, '_take_in', once)
  with pytest.raises(OSError, match='No space'):
    look(service)
  assert len(service.indexer.pool) == 2
  service.close()
  again = make_service()
  assert len(again.indexer.pool) == 2
  look(again)
  assert sum(count_encoded) == 6
  assert len(again.indexer.pool) == 6


def test_a_thread_that_fails_says_so_and_goes_on(make_service, photos, capsys):
  service = make_service(rescan=1)
  hidden = photos.rename(photos.with_name('elsewhere'))
  service.indexer.start()
  _until(lambda: service.indexer.state.phase == 'failed')
  assert 'is not there' in service.indexer.state.error
  hidden.rename(photos)
  service.indexer.look_again()
  _until(lambda: service.indexer.state.phase == 'ready')
  assert service.indexer.state.error == ''
  assert len(service.indexer.pool) == 6
  assert 'stands still' in capsys.readouterr().err


def _until(holds):
  for _ in range(1200):
    if holds():
      return
    time.sleep(0.05)
  pytest.fail('it never came to that')

"""The command: features of a folder, stopped and resumed, with bad photos."""

import importlib.util
import pathlib
import subprocess
import sys

from drawn_photos import READABLE, twenty_photos
import numpy as np
from PIL import Image
import pytest
import tiny_encoder

from data_prep import extract
from data_prep.writing import feature_parts
from mrnn_jax.data import feature_files
from mrnn_jax.encoders import photos
from mrnn_jax.runtime import beam_engine, errors, npz

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
  """The only encoder, and small parts."""
  return tiny_encoder.install(monkeypatch)


@pytest.fixture
def folder(tmp_path):
  return twenty_photos(tmp_path / 'photos')


def run(folder, output, *args):
  argv = ['extract', f'--images={folder}', f'--output={output}', *args]
  try:
    extract.run([*argv, '--encoder=tiny', '--batch_size=4'])
  except SystemExit as end:
    return end.code or 0
  return 0


def test_features_of_a_folder(tmp_path, folder, capsys):
  output = tmp_path / 'f.npz'
  assert run(folder, output) == 0
  out, err = capsys.readouterr()
  table = feature_files.load(output)
  assert table.ids == READABLE
  assert table.encoder == feature_files.Encoder(
    'tiny, squash to 8 x 8', 'ab12' * 16
  )
  assert table.dtype == np.float16
  for name in READABLE:
    image = photos.read(str(folder / name), 8, 'squash')
    want = np.asarray(tiny_encoder.apply(np.float32(0.5), image[None]))[0]
    np.testing.assert_allclose(table.get(name), want, rtol=1e-3)
  assert '17 photos, 7 numbers each' in out
  assert '3 photos could not be read' in out
  assert '00.png: the file is empty' in out
  assert 'encode by tiny: 20 photos in ' in err
  lines = (tmp_path / 'f.npz.unreadable.txt').read_text().splitlines()
  assert [line.split('\t')[0] for line in lines] == [
    '00.png',
    '07.png',
    '19.png',
  ]
  assert sorted(x.name for x in tmp_path.iterdir()) == [
    'f.npz',
    'f.npz.unreadable.txt',
    'photos',
  ]


def test_features_in_a_file_that_is_mapped(tmp_path, folder, capsys):
  whole, output = tmp_path / 'f.npz', tmp_path / 'f.npy'
  assert run(folder, whole) == 0
  assert run(folder, output) == 0
  expected, table = feature_files.load(whole), feature_files.load(output)
  assert isinstance(table.features, np.memmap)
  assert table.ids == expected.ids == READABLE
  assert table.encoder == expected.encoder
  np.testing.assert_array_equal(table.features, expected.features)
  # As NumPy writes it, not only as it reads it.
  np.save(tmp_path / 'plain.npy', expected.features)
  assert output.read_bytes() == (tmp_path / 'plain.npy').read_bytes()
  assert {x.name for x in tmp_path.glob('f.np*')} | {
    x.name for x in tmp_path.glob('f.[et]*')
  } == {
    'f.npz',
    'f.npz.unreadable.txt',
    'f.npy',
    'f.npy.unreadable.txt',
    'f.txt',
    'f.encoder.json',
  }
  capsys.readouterr()
  assert run(folder, output) == 0
  assert 'is there already' in capsys.readouterr().out
  assert run(folder, output, '--resize=center_crop') == 1
  (tmp_path / 'f.encoder.json').write_text('{"encoder": 3}')
  with pytest.raises(
    errors.InputError, match='encoder.json has 3 as "encoder"'
  ):
    feature_files.load(output)


def test_a_npz_is_written_as_numpy_would(tmp_path, folder):
  output = tmp_path / 'f.npz'
  run(folder, output, '--dtype=float32')
  with np.load(output) as archive:
    arrays = dict(archive)
  npz.write(tmp_path / 'plain.npz', **arrays)  # Whole arrays.
  assert output.read_bytes() == (tmp_path / 'plain.npz').read_bytes()
  assert arrays['features'].dtype == np.float32


def test_new_names_never_stand_beside_old_features(
  tmp_path, folder, monkeypatch
):
  output = tmp_path / 'f.npy'
  run(folder, output)
  Image.new('RGB', (9, 9), 'red').save(folder / '05.png')
  with monkeypatch.context() as patch:
    patch.setattr(feature_parts.Parts, '_put', lambda *unused: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      run(folder, output, '--overwrite')
  whole = tmp_path / 'whole.npy'
  assert run(folder, output, '--overwrite') == 0
  assert run(folder, whole) == 0
  assert output.read_bytes() == whole.read_bytes()


def test_processes_read_what_threads_read(folder):
  found = photos.find_all(str(folder))
  sources = [x.source for x in found[:8]]
  by_threads = list(photos.read_all(sources, 8, 'squash'))
  by_processes = list(photos.read_all(sources, 8, 'squash', num_processes=1))
  assert [str(x) for x in by_processes] == [str(x) for x in by_threads]
  assert isinstance(by_processes[0], photos.PhotoError)
  np.testing.assert_array_equal(by_processes[1], by_threads[1])


def test_a_part_is_the_same_by_itself(tmp_path, folder, monkeypatch):
  """What a worker of Beam does, which sees no other part."""
  whole, output = tmp_path / 'whole.npz', tmp_path / 'f.npz'
  run(folder, whole)

  def work(runner, options, jobs, work, left):
    assert (runner, options) == ('DirectRunner', ('--a=1',))
    # Not the first, which is there.
    assert [pathlib.Path(x).name for x in jobs] == [
      '00000008.json',
      '00000016.json',
    ]
    for job in [*jobs[::-1], jobs[0]]:  # In any order, and again.
      work(job)

  read_all = photos.read_all

  def read_some(sources, *args, **options):
    for number, image in enumerate(read_all(sources, *args, **options)):
      if number == 17:
        raise KeyboardInterrupt
      yield image

  with monkeypatch.context() as patch:
    patch.setattr(photos, 'read_all', read_some)
    assert run(folder, output) == 75
  monkeypatch.setattr(beam_engine, 'run', work)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True)
  options = ['--beam_runner=DirectRunner', '--beam_options=a=1']
  assert run(folder, output, *options) == 0
  assert output.read_bytes() == whole.read_bytes()
  assert not list(tmp_path.glob('*.parts'))


@pytest.mark.slow
@pytest.mark.filterwarnings('default')
def test_beam_encodes_the_same_bytes(tmp_path, folder):
  pytest.importorskip('apache_beam')
  for suffix in ('.npz', '.npy'):
    whole, output = tmp_path / f'whole{suffix}', tmp_path / f'f{suffix}'
    assert run(folder, whole) == 0
    assert run(folder, output, '--beam_runner=DirectRunner') == 0
    assert output.read_bytes() == whole.read_bytes()
  assert feature_files.load(output).ids == READABLE
  assert not list(tmp_path.glob('*.parts'))


@pytest.mark.parametrize('stop_at', [1, 4, 9, 13, 20])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
  tmp_path, folder, monkeypatch, stop_at
):
  whole, resumed = tmp_path / 'whole.npz', tmp_path / 'resumed.npz'
  run(folder, whole)
  read_all, num_read = photos.read_all, 0

  def read_some(paths, *args, **options):
    nonlocal num_read
    for image in read_all(paths, *args, **options):
      num_read += 1
      if num_read == stop_at:
        raise KeyboardInterrupt
      yield image

  with monkeypatch.context() as patch:
    patch.setattr(photos, 'read_all', read_some)
    assert run(folder, resumed) == 75
  assert not resumed.exists()
  before = num_read
  num_read = 0
  with monkeypatch.context() as patch:
    stop_at = None
    patch.setattr(photos, 'read_all', read_some)
    assert run(folder, resumed) == 0
  # Parts hold 8 photos; what is computed last is not yet saved.
  assert num_read == 20 - max(0, (before - 5) // 8 * 8)
  assert resumed.read_bytes() == whole.read_bytes()
  reports = [x.with_name(f'{x.name}.unreadable.txt') for x in (whole, resumed)]
  assert reports[0].read_text() == reports[1].read_text()
  assert not list(tmp_path.glob('*.parts'))


def test_parts_of_other_photos_are_not_taken(
  tmp_path, folder, monkeypatch, capsys
):
  output = tmp_path / 'f.npz'
  with monkeypatch.context() as patch:
    patch.setattr(feature_parts.Parts, 'finish', lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      run(folder, output)
  (folder / '05.png').unlink()
  assert run(folder, output) == 0
  assert 'beginning anew' in capsys.readouterr().out
  assert feature_files.load(output).ids == [
    x for x in READABLE if x != '05.png'
  ]


def test_killed_when_all_was_done(tmp_path, folder, monkeypatch):
  """Between writing the features and removing their parts."""
  output = tmp_path / 'f.npz'
  with monkeypatch.context() as patch:
    patch.setattr(feature_parts, 'discard', lambda output: None)
    run(folder, output)
  parts = tmp_path / 'f.npz.parts'
  assert parts.exists()
  before = output.read_bytes()
  assert run(folder, output) == 0
  assert output.read_bytes() == before
  assert not parts.exists()


def test_killed_while_parts_were_removed(tmp_path, folder, monkeypatch):
  """Their plan went first: nobody knows what they are of."""
  output = tmp_path / 'f.npz'
  with monkeypatch.context() as patch:
    patch.setattr(feature_parts, 'discard', lambda output: None)
    run(folder, output)
  (tmp_path / 'f.npz.parts' / 'plan.txt').unlink()
  Image.new('RGB', (9, 9), 'red').save(folder / '05.png')
  assert run(folder, output, '--overwrite') == 0
  whole = tmp_path / 'whole.npz'
  run(folder, whole)
  assert output.read_bytes() == whole.read_bytes()


def test_an_output_that_is_there(tmp_path, folder, capsys):
  output = tmp_path / 'f.npz'
  run(folder, output)
  before = output.read_bytes()
  assert run(folder, output) == 0
  assert 'is there already' in capsys.readouterr().out
  assert run(folder, output, '--resize=center_crop') == 1
  assert 'replace it by --overwrite' in capsys.readouterr().err
  assert output.read_bytes() == before
  assert run(folder, output, '--resize=center_crop', '--overwrite') == 0
  assert feature_files.load(output).encoder.name == 'tiny, center_crop to 8 x 8'
  output.write_text('something else')
  assert run(folder, output) == 1


def test_nothing_readable_is_an_error(tmp_path, folder, capsys):
  for path in folder.iterdir():
    path.write_text('no photo')
  assert run(folder, tmp_path / 'f.npz') == 1
  assert 'none of the 20 photos can be read' in capsys.readouterr().err
  assert [x.name for x in tmp_path.iterdir()] == ['photos']


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    ([], 'say which photos to encode: --images'),
    (['--images=x'], 'say where to write'),
    (['--images=x', '--output=x.txt'], '--output=NAME.npz'),
    (['--images=x', '--output=x.npz', '--resize=big'], 'squash, center_crop'),
    (['--images=x', '--output=x.npz', '--dtype=int8'], 'float16, float32'),
    (['--images=x', '--output=x.npz', '--batch_size=-1'], 'too small'),
    (['--images=x', '--output=x.npy', '--readers=-1'], 'too small'),
    (
      ['--images=x', '--output=x.npy', '--beam_runner=Spark'],
      'DirectRunner, SparkRunner',
    ),
    (
      ['--images=x', '--output=x.npy', '--readers=2', '--beam_runner=x'],
      '--readers is for this machine alone',
    ),
    (['--images=nowhere', '--output=x.npz'], 'there is no nowhere: name'),
    (['--encoders=x'], 'did you mean --encoder?'),
  ],
)
def test_mistakes_get_one_sentence(capsys, args, message):
  with pytest.raises(SystemExit) as end:
    extract.run(['extract', *args])
  assert end.value.code == 1
  err = capsys.readouterr().err
  assert err.startswith('error: ') and message in err
  assert len(err.strip().splitlines()) == 1


def test_an_output_that_cannot_be_written(tmp_path, folder, capsys):
  (tmp_path / 'file').write_text('')
  assert run(folder, tmp_path / 'file' / 'f.npz') == 1
  assert 'name another --output' in capsys.readouterr().err


def test_help_and_imports():
  """The command starts without what it does not need."""
  code = (
    'import sys; from data_prep import extract;'
    'slow = {"tensorflow_datasets", "torch", "grain", "matplotlib", "orbax"};'
    'print(sorted(slow & set(sys.modules)));'
    'extract.run(["extract", "--help"])'
  )
  result = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.startswith('[]\n')
  for text in ('Photos:', '--resize=squash', '--weights', 'center_crop:'):
    assert text in result.stdout


def test_photos_of_one_name_are_refused_before_anything_is_done(
  tmp_path, folder, capsys
):
  (folder / 'a').mkdir()
  for name in ('a/01.png', 'a/02.png', 'a/02.JPG'):
    (folder / name).write_bytes(b'')
  assert run(folder, tmp_path / 'f.npz') == 1
  assert 'error: a/02.JPG and a/02.png are one name' in capsys.readouterr().err
  (folder / 'a' / '02.JPG').unlink()
  # In another folder it is another photo.
  assert run(folder, tmp_path / 'f.npz') == 0

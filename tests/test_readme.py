"""What README shows runs as it stands there."""

import pathlib
import re
import shlex

from absl import flags
import jax
from PIL import Image
import pytest

from data_prep import build, extract
from mrnn_jax import PRETRAINED, command, config, tasks
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.serve import __main__ as serve
from mrnn_jax.tables import __main__ as tables

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PROGRAMS = {
  'data_prep.build': (build.define_flags, build.BuildConfig),
  'data_prep.extract': (extract.define_flags, extract.ExtractConfig),
  'mrnn_jax.serve': (serve.define_flags, serve.Settings),
}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  """As people have it; each of several would be given a tile of its own."""
  device = jax.local_devices()[:1]
  monkeypatch.setattr(jax, 'local_devices', lambda: device)


@pytest.fixture
def photos(tmp_path):
  folder = tmp_path / 'photos'
  folder.mkdir()
  for name, colour in (('grass', 'green'), ('sky', 'blue')):
    Image.new('RGB', (80, 60), colour).save(folder / f'{name}.jpg')
  (folder / 'broken.jpg').write_bytes(b'not a photo')
  return folder


def test_python_example(photos, monkeypatch, capsys):
  (code,) = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  monkeypatch.chdir(photos.parent)
  exec(code, {})
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines[:2]] == ['grass.jpg', 'sky.jpg']
  assert all(len(line.split()) > 3 for line in lines[:2])
  assert 'grass.jpg' in lines[-1] or 'sky.jpg' in lines[-1]


def test_own_photos_need_nothing_else(photos, monkeypatch, capsys):
  monkeypatch.chdir(photos.parent)
  tasks.run(config.Given({'task': 'caption', 'photos': 'photos'}))
  out = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in out[1:]] == ['grass.jpg', 'sky.jpg']
  assert not (photos.parent / 'runs').exists()


def test_the_pretrained_model_is_small():
  assert pathlib.Path(PRETRAINED).stat().st_size < 20e6


def _commands():
  # Code stands between every other pair of fences.
  blocks = README.replace('\\\n', ' ').split('```')[1::2]
  lines = [line.strip() for block in blocks for line in block.splitlines()]
  return [line for line in map(_spelled_out, lines) if line]


def _spelled_out(line):
  """Return a command as python -m has it, '' where it is none."""
  name, *rest = line.removeprefix('mrnn ').split(' ', 1)
  if line.startswith('mrnn ') and name in command.SUBCOMMANDS:
    chosen = command.SUBCOMMANDS[name]
    return ' '.join(['python -m', chosen.module, *chosen.args, *rest])
  return line if line.startswith('python -m ') else ''


def _check(command):
  """Read a command's flags, and those of its flag file, as its program does."""
  words = shlex.split(command, comments=True)
  values = flags.FlagValues()
  if words[2] == 'mrnn_jax.main':
    config_flags.define_flags(values)
    values.set_gnu_getopt(True)
    _, *photos = values(words[2:])
    given = config_flags.read(values, words[2:])
    if photos:
      assert given.get('task') in ('caption', 'rank', 'report')
      given = given.adding(photos=photos[0])
    config.complete(given)
    return
  if words[2] == 'mrnn_jax.tables':
    tables.define_flags(values)
    assert len(values(words[2:])) == 1
    tables.read(values, words[2:])
    assert tables.names(values.rows)
    return
  if words[2] not in PROGRAMS:
    pytest.skip('no flags of absl')
  define_flags, make_config = PROGRAMS[words[2]]
  define_flags(values)
  assert len(values(words[2:])) == 1
  make_config(**{name: values[name].value for name in values})


@pytest.mark.parametrize('command', sorted(set(_commands())))
def test_commands_have_flags_that_exist(command, monkeypatch):
  monkeypatch.chdir(ROOT)
  _check(command)


def test_commands_of_mrnn_are_among_them():
  assert 'python -m mrnn_jax.main --task=caption PHOTOS' in {
    x.split('  ')[0] for x in _commands()
  }
  assert sum('data_prep' in x for x in _commands()) > 4


@pytest.mark.parametrize(
  'flag',
  [
    '--tasks=score',
    '--task=scor',
    '--nbest=many',
    '--nbest=0',
    '--flagfile=none.flags',
    '--task=evaluate --shard=0/4',
    '--top_k=5',
    'caption',
  ],
)
def test_a_wrong_flag_would_be_found(flag):
  with pytest.raises((flags.Error, InputError, AssertionError)):
    _check(f'python -m mrnn_jax.main {flag}')

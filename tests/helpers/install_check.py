"""Installs the program as people do, and uses it from another folder.

  python tests/helpers/install_check.py --python=python3.12 [--lowest]

Makes a wheel of this checkout, installs it into a fresh environment of that
Python, and goes the whole way with the command ``mrnn``: captions of photos, a
dataset of drawn scenes, a short training with a flag file that comes along, a
page.  ``--lowest`` takes the lowest versions that requirements.txt allows.  The
last line says what was installed; a step that fails ends it.
"""

import argparse
import os
import pathlib
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
_TOLD = ('jax', 'jaxlib', 'flax', 'numpy', 'orbax-checkpoint', 'grain')

_PHOTOS = """
from PIL import Image
for name, colour in (('grass', 'green'), ('sky', 'blue')):
  Image.new('RGB', (80, 60), colour).save(f'my photos/{name}.jpg')
open('my photos/broken.jpg', 'w').write('no photo')
"""

_FROM_PYTHON = """
import importlib.resources
import mrnn_jax
from mrnn_jax.runtime import along
assert mrnn_jax.__version__
assert set(along.flag_files()) >= {'flickr8k.flags', 'demo.flags'}, (
  along.flag_files())
assert (importlib.resources.files('mrnn_jax') / 'py.typed').is_file()
model = mrnn_jax.load()
names, features = model.encode_photos('my photos')
assert names == ['grass.jpg', 'sky.jpg'], names
assert len(model.caption(features, nbest=2)[0]) == 2
print(mrnn_jax.__file__)
"""


def lowest(requirements: str) -> str:
  """Return requirements in their lowest versions, as constraints."""
  pinned = re.sub(r'>=', '==', requirements)
  return re.sub(r'\[\w+\]', '', pinned)  # A constraint has no extras.


def main() -> None:
  """Run the check."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--python', default='python3')
  parser.add_argument('--lowest', action='store_true')
  parser.add_argument('--editable', action='store_true')
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    check(pathlib.Path(folder), args.python, args.lowest, args.editable)


def check(
  folder: pathlib.Path, python: str, low: bool = False, editable: bool = False
) -> None:
  """Install into an environment in a folder, and go the whole way.

  Args:
    folder: an empty one.
    python: the interpreter of the environment.
    low: take the lowest versions.
    editable: install the checkout itself, no wheel of it.
  """
  work = folder / 'a folder of work'
  (work / 'my photos').mkdir(parents=True)
  environment = folder / 'environment'
  run([python, '-m', 'venv', environment], folder)
  pip = [environment / 'bin/python', '-m', 'pip', '-q']
  constraints = []
  if low:
    path = folder / 'lowest.txt'
    path.write_text(lowest((ROOT / 'requirements.txt').read_text()))
    constraints = ['-c', path]
  if editable:
    run([*pip, 'install', *constraints, '-e', ROOT], folder)
  else:
    wheels = folder / 'wheels'
    run([*pip, 'wheel', '--no-deps', '-w', wheels, ROOT], folder)
    (wheel,) = wheels.iterdir()
    run([*pip, 'install', *constraints, wheel], folder)
  mrnn, own_python = environment / 'bin/mrnn', environment / 'bin/python'
  run([own_python, '-c', _PHOTOS], work)
  run([mrnn, '--version'], work)
  run([mrnn, 'train', '--help'], work)
  said = run([mrnn, 'caption', 'my photos', '--nbest=2'], work)
  assert '2 of 3 photos captioned; not: broken.jpg' in said, said
  run([own_python, '-c', _FROM_PYTHON], work)
  run(
    [mrnn, 'build', '--dataset=scenes', '--num_scenes=60', '--data_dir=data'],
    work,
  )
  flags = ['--flagfile=demo.flags', '--data_dir=data', '--workdir=runs/w']
  run([mrnn, 'train', *flags, '--num_epochs=0.5', '--norm_images=9'], work)
  run([mrnn, 'report', '--workdir=runs/w'], work)
  assert (work / 'runs/w/report.html').is_file()
  listed = run([*pip, 'freeze'], work).splitlines()
  told = [x for x in listed if x.partition('==')[0] in _TOLD]
  version = run([own_python, '--version'], work).strip()
  print(f'all is well: {version}; {", ".join(told)}')


def run(command, folder: pathlib.Path) -> str:
  """Run a command in a folder; return what it says, or raise."""
  environ = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  begin = time.monotonic()
  result = subprocess.run(
    list(map(str, command)),
    cwd=folder,
    env={**environ, 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  words = ' '.join(map(str, command))[-60:].replace('\n', ' ')
  print(f'{time.monotonic() - begin:6.1f} s  {words}', flush=True)
  if result.returncode:
    raise SystemExit(f'{result.stdout}\nfailed: {words}')
  return result.stdout


if __name__ == '__main__':
  main()

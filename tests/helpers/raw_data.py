"""Raw data of a dataset of five images, and running the command on it."""

import numpy as np

from data_prep import build


def write(folder):
  """Write Flickr8K's files with five images; return the command's arguments."""
  raw = folder / 'raw'
  raw.mkdir()
  lines = [f'{i}.jpg#{k}\tA dog number {i}' for i in range(5) for k in range(2)]
  (raw / 'Flickr8k.token.txt').write_text('\n'.join(lines))
  (raw / 'Flickr_8k.trainImages.txt').write_text('0.jpg\n1.jpg\n2.jpg\n')
  (raw / 'Flickr_8k.devImages.txt').write_text('3.jpg\n')
  (raw / 'Flickr_8k.testImages.txt').write_text('4.jpg\n')
  features = folder / 'f.npz'
  save_features(features, np.eye(5))
  return [
    '--dataset=flickr8k',
    f'--raw_dir={raw}',
    f'--features={features}',
    f'--data_dir={folder / "data"}',
  ]


def save_features(path, features):
  """Write the features of ``0.jpg``, ``1.jpg`` and so on."""
  ids = [f'{i}.jpg' for i in range(len(features))]
  np.savez(path, ids=ids, features=np.asarray(features, np.float32))


def run_build(capsys, *args):
  """Run the command; return its exit code and what it said."""
  try:
    build.run(['build', *args])
    code = 0
  except SystemExit as stop:
    code = stop.code
  out, err = capsys.readouterr()
  return code, out, err

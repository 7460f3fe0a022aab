"""Runs a notebook of the docs; as a command, and stores what its cells give.

python tests/helpers/run_notebook.py docs/notebooks/NAME.ipynb
"""

import os
import pathlib
import sys
import tempfile

import nbclient
import nbformat

ROOT = pathlib.Path(__file__).parents[2]
# All of it takes some minutes on two cores; a cell no more than this.
_SECONDS = 1200


def run(path: pathlib.Path, folder: str) -> nbformat.NotebookNode:
  """Return a notebook with its outputs, run from top to bottom in a folder.

  Raises:
    CellExecutionError: a cell fails.
  """
  notebook = nbformat.read(path, 4)
  client = nbclient.NotebookClient(
    notebook,
    timeout=_SECONDS,
    kernel_name='python3',
    resources={'metadata': {'path': folder}},
    # When it ran is nobody's business, and changes with every run.
    record_timing=False,
  )
  paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
  environ = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
  client.execute(env=environ)
  for cell in notebook.cells:
    if cell.cell_type == 'code':  # Progress and warnings of this machine.
      cell.outputs = [x for x in cell.outputs if x.get('name') != 'stderr']
  return notebook


def main() -> None:
  path = pathlib.Path(sys.argv[1])
  with tempfile.TemporaryDirectory() as folder:
    notebook = run(path, folder)
  # As ``mrnn_jax`` is found, so is Python: by whoever opens it.
  notebook.metadata = {
    'kernelspec': {
      'display_name': 'Python 3',
      'language': 'python',
      'name': 'python3',
    },
    'language_info': {'name': 'python'},
  }
  nbformat.write(notebook, path)


if __name__ == '__main__':
  main()

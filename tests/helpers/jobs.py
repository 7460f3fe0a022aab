"""Jobs of several processes, and what evaluation leaves in a workdir."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import tiny_run

# Blocks and batches that 12 images and 24 captions fill unevenly.
EVALUATION = {
  'rank_image_block': 5,
  'rank_tile_rows': 20,
  'eval_batch_size': 3,
}


class Job:
  """A run of several processes."""

  def __init__(
    self,
    workdir,
    data_dir,
    num_processes,
    num_devices,
    others=(),
    xla_flags=None,
    **changes,
  ):
    """Start it.

    Args:
      workdir: of the run.
      data_dir: of its dataset.
      num_processes: how many.
      num_devices: of each.
      others: flags that the processes after the first get, too.
      xla_flags: what XLA_FLAGS are; as here if None.
      **changes: other settings of ``tiny_run``.
    """
    with socket.socket() as s:
      s.bind(('localhost', 0))
      port = s.getsockname()[1]
    changes |= {'num_devices': num_devices}
    if num_processes > 1:
      changes['num_processes'] = num_processes
      changes['coordinator'] = f'localhost:{port}'
    root = pathlib.Path(__file__).parents[2]
    environ = os.environ | {
      'PYTHONPATH': str(root),
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': str(num_devices),
    }
    if xla_flags is not None:
      environ['XLA_FLAGS'] = xla_flags
    command = [sys.executable, '-m', 'mrnn_jax.main']
    command += tiny_run.flags(workdir, data_dir, **changes)
    self.processes = [
      subprocess.Popen(
        command
        + ([f'--process_id={p}'] if num_processes > 1 else [])
        + (list(others) if p else []),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
      )
      for p in range(num_processes)
    ]

  def wait(self):
    """Return exit codes, and what was said on stdout and stderr."""
    said = [process.communicate(timeout=300) for process in self.processes]
    return (
      [process.returncode for process in self.processes],
      [out for out, _ in said],
      [err for _, err in said],
    )


def results(workdir):
  """What evaluation has left in a workdir."""
  return {
    'evaluation': json.loads((workdir / 'evaluation.json').read_text()),
    'captions': [
      json.loads(line)
      for line in (workdir / 'captions.jsonl').read_text().splitlines()
    ],
    'retrieval': (workdir / 'retrieval.jsonl').read_bytes(),
    'images': np.load(workdir / 'scores/test_images.npy'),
    'norm': np.load(workdir / 'scores/test_norm.npy'),
  }


def assert_same_results(found, expected):
  """Perplexity to 1e-5; the same words and ranks, and the ranking's bits."""
  for name in ('images', 'norm'):
    np.testing.assert_array_equal(found[name], expected[name])
  assert found['retrieval'] == expected['retrieval']
  for one, other in zip(found['captions'], expected['captions'], strict=True):
    assert (one['image_id'], one['caption']) == (
      other['image_id'],
      other['caption'],
    )
  found, expected = found['evaluation'], expected['evaluation']
  np.testing.assert_allclose(
    list(found['perplexity'].values()),
    list(expected['perplexity'].values()),
    rtol=1e-5,
  )
  assert found == expected | {'perplexity': found['perplexity']}

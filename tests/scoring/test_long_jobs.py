"""Jobs of a million records, and jobs that are killed."""

import gzip
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from scoring_jobs import IDS, WORDS, names, run


@pytest.mark.slow
def test_a_million_records_in_bounded_memory(folder, tmp_path):
  def peak(count):
    path = tmp_path / f'{count}.jsonl.gz'
    with gzip.open(path, 'wt', 1) as file:
      for i in range(count):
        image_id, sentence = IDS[i % 4], WORDS[i % 9]
        file.write(f'{{"image_id": "{image_id}", "sentence": "{sentence}"}}\n')
    run(
      folder,
      tmp_path / str(count),
      score_input=str(path),
      score_block=1000,
      rank_tile_rows=64,
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

  before = peak(20_000)
  assert peak(1_000_000) - before < 30  # MiB
  path = tmp_path / '1000000' / 'scores-00000-of-00001.jsonl.gz'
  with gzip.open(path) as file:
    assert sum(1 for _ in file) == 1_000_000


@pytest.mark.slow
def test_a_process_that_is_killed(folder, tmp_path):
  path = tmp_path / 'many.jsonl'
  path.write_text((folder / 'r.jsonl').read_text() * 200)
  output = tmp_path / 'output'
  command = [
    sys.executable,
    '-m',
    'mrnn_jax.main',
    '--task=score',
    f'--model_file={folder / "model.npz"}',
    f'--features={folder / "features.npz"}',
    f'--score_input={path}',
    '--score_block=7',
    f'--output={output}',
  ]
  process = subprocess.Popen(command)
  half = None
  while not half:
    time.sleep(0.01)
    assert process.poll() is None
    half = [x for x in output.glob('.scores*') if x.stat().st_size]
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  assert all(name.startswith('.') for name in names(output))
  for folder_of_results in (output, tmp_path / 'whole'):
    command[-1] = f'--output={folder_of_results}'
    subprocess.run(command, check=True)
  assert names(output) == names(tmp_path / 'whole')
  for name in names(output):
    expected = (tmp_path / 'whole' / name).read_bytes()
    assert (output / name).read_bytes() == expected

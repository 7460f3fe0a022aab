import subprocess
import sys

from mrnn_jax.runtime import allocator

PROGRAM = """
import ctypes, resource, sys
from mrnn_jax.runtime import allocator

if sys.argv[1] == 'keep':
  assert allocator.keep_freed_memory()

def faults():
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = faults()
for _ in range(20):
  ctypes.memset(block := ctypes.create_string_buffer(64 << 20), 1, 64 << 20)
  del block
print(faults() - before)
"""


def page_faults(how):
  result = subprocess.run(
    [sys.executable, '-c', PROGRAM, how], capture_output=True, check=True
  )
  return int(result.stdout)


def test_freed_memory_is_used_again():
  assert page_faults('keep') < 0.2 * page_faults('return')


def test_elsewhere_nothing_happens(monkeypatch):
  monkeypatch.setattr(allocator.sys, 'platform', 'darwin')
  assert not allocator.keep_freed_memory()

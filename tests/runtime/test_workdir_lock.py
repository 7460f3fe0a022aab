"""A workdir in use: refused with its owner; a stale lock is taken over."""

import json
import os
import subprocess
import sys
import time

import pytest

from mrnn_jax.runtime import workdir_lock
from mrnn_jax.runtime.errors import InputError


def write(folder, **changes):
  """A lock of this very process, but for the changes."""
  owner = {
    'host': workdir_lock.socket.gethostname(),
    'pid': os.getpid(),
    'process': workdir_lock._process_identity(os.getpid()),
    'namespace': workdir_lock._namespace(),
    'task': 'train',
    'since': '2014-10-04 12:00:00+01:00',
  }
  path = folder / workdir_lock.FILE
  path.write_text(json.dumps(owner | changes))
  return path


def test_it_is_there_while_held_and_gone_after(tmp_path):
  workdir = tmp_path / 'new' / 'W'
  with workdir_lock.hold(str(workdir), 'train'):
    owner = json.loads((workdir / workdir_lock.FILE).read_text())
    assert owner['pid'] == os.getpid() and owner['task'] == 'train'
    with (
      pytest.raises(InputError, match='in use by another run') as error,
      workdir_lock.hold(str(workdir), 'evaluate'),
    ):
      pass
    for part in (owner['host'], str(owner['pid']), owner['since'], 'train'):
      assert part in str(error.value)
  assert not workdir.exists()
  with workdir_lock.hold(str(workdir), 'train'):
    pass


def test_a_process_that_is_gone(tmp_path, capsys):
  process = subprocess.Popen([sys.executable, '-c', ''])
  process.wait()
  write(tmp_path, pid=process.pid)
  with workdir_lock.hold(str(tmp_path), 'train'):
    pass
  assert 'taken over, since that process is gone' in capsys.readouterr().err


def test_a_number_that_another_process_has_now(tmp_path):
  write(tmp_path, process='an earlier start')
  with workdir_lock.hold(str(tmp_path), 'train'):
    pass


# What is not seen from here, though the host may have the name of ours: another
# host or container, a boot before, a lock of a program that did not tell.
UNSEEN = {'process': 'another', 'pid': 2**22 - 1}
BOOT, NUMBER = workdir_lock._namespace().split()


@pytest.mark.parametrize(
  'changes',
  [
    {'namespace': f'another {NUMBER}', 'host': 'elsewhere'},
    {'namespace': f'{BOOT} 4026530000'},
    {'namespace': f'another {NUMBER}'},
    {'namespace': ''},
  ],
)
def test_what_is_not_seen_by_its_heartbeat(tmp_path, capsys, changes):
  path = write(tmp_path, **{**UNSEEN, **changes})
  by_heartbeat(path, capsys)


def test_a_young_lock_whose_heart_has_stopped(tmp_path, capsys, monkeypatch):
  """A container that was killed comes again, with the name that it had."""
  monkeypatch.setattr(workdir_lock, '_LOOK_SECONDS', 0.05)
  monkeypatch.setattr(workdir_lock, 'STALE_SECONDS', 0.2)
  write(tmp_path, **UNSEEN, namespace=f'{BOOT} 4026530000')
  with workdir_lock.hold(str(tmp_path), 'train'):
    pass
  assert 'taken over, since it has given no sign' in capsys.readouterr().err


def test_a_lock_of_an_older_program_by_its_heartbeat(tmp_path, capsys):
  path = write(tmp_path, **UNSEEN)
  owner = json.loads(path.read_text())
  del owner['namespace']
  path.write_text(json.dumps(owner))
  by_heartbeat(path, capsys)


def test_a_process_that_hides_is_not_gone(tmp_path, capsys, monkeypatch):
  path = write(tmp_path)
  monkeypatch.setattr(workdir_lock, '_process_identity', lambda pid: 'alive')
  by_heartbeat(path, capsys)


def by_heartbeat(path, capsys):
  """A lock is refused while its heart beats, and taken over later."""
  tmp_path = path.parent
  with (
    pytest.MonkeyPatch.context() as patch,
    pytest.raises(InputError, match='in use by another run'),
  ):
    # While we wait, it beats.
    patch.setattr(workdir_lock.time, 'sleep', lambda unused: os.utime(path))
    with workdir_lock.hold(str(tmp_path), 'train'):
      pass
  old = time.time() - workdir_lock.STALE_SECONDS - 60
  os.utime(path, (old, old))
  with workdir_lock.hold(str(tmp_path), 'train'):
    pass
  assert 'no sign for 6 minutes' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_a_host_that_has_fallen_silent_is_waited_for(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(workdir_lock, '_LOOK_SECONDS', 0.1)
  monkeypatch.setattr(workdir_lock, 'STALE_SECONDS', 101)
  path = write(tmp_path, **UNSEEN, host='elsewhere', namespace='')
  old = time.time() - 100
  os.utime(path, (old, old))
  with workdir_lock.hold(str(tmp_path), 'train'):
    pass
  said = capsys.readouterr().err
  assert said.count('waiting for the next') == 1 and 'taken over' in said


def test_a_heart_beats(tmp_path, monkeypatch):
  monkeypatch.setattr(workdir_lock, '_BEAT_SECONDS', 0.01)
  with workdir_lock.hold(str(tmp_path), 'train'):
    path = tmp_path / workdir_lock.FILE
    os.utime(path, (0, 0))
    until = time.monotonic() + 5
    while path.stat().st_mtime < 1 and time.monotonic() < until:
      time.sleep(0.01)
    assert path.stat().st_mtime > 1


@pytest.mark.parametrize(
  'text',
  [
    '',
    '{"host": ',
    '[1]',
    '{}',
    '[' * 5000,
    '{"host": "x", "pid": "1", "task": "train", "since": "now"}',
    '{"host": "x", "pid": -1, "task": "train", "since": "now"}',
    '{"host": "x", "pid": 9999999999, "task": "train", "since": "now"}',
  ],
)
def test_a_lock_that_cannot_be_is_none(tmp_path, text):
  (tmp_path / workdir_lock.FILE).write_text(text)
  with workdir_lock.hold(str(tmp_path), 'train'):
    pass


def test_of_many_that_find_a_stale_lock_one_gets_it(tmp_path):
  write(tmp_path, process='an earlier start')
  code = (
    'import sys, time\n'
    'from mrnn_jax.runtime import workdir_lock\n'
    'with workdir_lock.hold(sys.argv[1], "train"):\n'
    '  print("mine", flush=True)\n'
    '  time.sleep(2)\n'
  )
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', code, str(tmp_path)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for _ in range(4)
  ]
  said = [process.communicate(timeout=60) for process in processes]
  assert [out for out, _ in said].count('mine\n') == 1
  assert sum('in use by another run' in err for _, err in said) == 3

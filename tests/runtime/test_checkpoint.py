"""Damaged checkpoints: refused, named, and an earlier one taken."""

import json
import shutil

import numpy as np
import pytest
import tiny_run

from mrnn_jax import tasks
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime.checkpoint import Checkpoints
from mrnn_jax.runtime.errors import InputError


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
  """Three checkpoints; the one of step 2 is the best."""
  folder = tmp_path_factory.mktemp('sound')
  with Checkpoints(folder, keep=3) as checkpoints:
    for step, perplexity in ((1, 30.0), (2, 10.0), (3, 20.0)):
      checkpoints.save(tiny_run.checkpoint(step), perplexity)
  return folder


@pytest.fixture
def workdir(sound, tmp_path):
  """A copy of them, to be damaged."""
  shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
  return tmp_path


def files_of(workdir, step):
  folder = workdir / checkpoint_lib.FOLDER / str(step)
  return sorted(x for x in folder.rglob('*') if x.is_file())


def flip(path, position):
  content = bytearray(path.read_bytes())
  content[int(position * (len(content) - 1))] ^= 0x10
  path.write_bytes(content)


def test_arrays_and_json_come_back(workdir):
  with Checkpoints(workdir) as checkpoints:
    restored = checkpoints.restore(2)
    np.testing.assert_array_equal(restored.state['params']['w'], 2)
    np.testing.assert_array_equal(restored.model['norm_features'], 1)
    assert restored.progress == {'best_step': 2}
    assert (checkpoints.latest_step(), checkpoints.best_step()) == (3, 2)


@pytest.mark.parametrize('damage', ['flip', 'cut', 'remove'])
def test_whatever_file_is_damaged_an_earlier_one_is_taken(
  workdir, damage, capsys
):
  """Each file in turn: refused, or harmless since nothing is read from it."""
  refused = []
  for number, path in enumerate(files_of(workdir, 3)):
    copy = workdir.with_name(f'{workdir.name}_{number}')
    shutil.copytree(workdir, copy)
    victim = copy / path.relative_to(workdir)
    if damage == 'flip':
      flip(victim, 0.6)
    elif damage == 'cut':
      victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    else:
      victim.unlink()
    with Checkpoints(copy) as checkpoints:
      latest = checkpoints.latest_step()
      if latest == 3:
        value = checkpoints.restore(3).state['params']['w']
        np.testing.assert_array_equal(value, 3)
        assert checkpoints.best_step() == 2
        continue
      assert latest == 2
      said = capsys.readouterr().err
      assert 'step 3' in said or '/3 is kept as 3.damaged-1' in said
      refused.append(path.name)
  # The arrays, their index, the checksums.
  assert len(refused) >= 3, refused


def test_other_bytes_of_the_same_form_are_noticed(workdir, capsys):
  folder = workdir / checkpoint_lib.FOLDER
  shutil.rmtree(folder / '3/state')
  shutil.copytree(folder / '2/state', folder / '3/state')
  with Checkpoints(workdir) as checkpoints:
    with pytest.raises(InputError, match='step 3.*state: other bytes'):
      checkpoints.restore(3)
    assert checkpoints.latest_step() == 2
  assert 'warning: the checkpoint of step 3' in capsys.readouterr().err


def test_the_next_best_stands_in_for_the_best(workdir, capsys):
  for path in files_of(workdir, 2):
    if 'state/d' in str(path):
      flip(path, 0.5)
  with Checkpoints(workdir) as checkpoints:
    assert checkpoints.latest_step() == 3
    assert checkpoints.best_step() == 3
  said = capsys.readouterr().err
  assert 'step 2' in said and 'step 3 is taken instead' in said


def test_none_is_good(workdir):
  for step in (1, 2, 3):
    (workdir / checkpoint_lib.FOLDER / f'{step}/state/_METADATA').unlink()
  with (
    Checkpoints(workdir) as checkpoints,
    pytest.raises(InputError, match='all checkpoints in .* are damaged'),
  ):
    checkpoints.latest_step()


def test_training_goes_on_from_the_one_before(
  tiny_data_dir, tiny_workdir, tmp_path, capsys
):
  # Stopped after step 12, and the last checkpoint cut.
  workdir = tmp_path / 'W'
  shutil.copytree(tiny_workdir, workdir)
  folder = workdir / checkpoint_lib.FOLDER
  shutil.rmtree(folder / '16')
  for path in files_of(workdir, 12):
    path.write_bytes(path.read_bytes()[:20])
  # A save that was killed.
  (folder / '7.orbax-checkpoint-tmp/state').mkdir(parents=True)
  config = tiny_run.config(workdir, tiny_data_dir, keep_checkpoints=9)
  tasks.run(tiny_run.given(config))
  said = capsys.readouterr()
  assert 'going on from step 8' in said.out
  assert 'step 12' in said.err or '12 is kept' in said.err
  assert (folder / '12.damaged-1').exists()
  assert not list(folder.glob('*tmp*'))
  assert tiny_run.last_state(workdir) == tiny_run.last_state(tiny_workdir)


def test_what_validation_gave_is_covered(workdir):
  path = workdir / checkpoint_lib.FOLDER / '3/metrics/metrics'
  path.write_text(json.dumps({'validation_perplexity': 2.0}))
  with Checkpoints(workdir) as checkpoints:
    assert checkpoints.best_step() == 2


def test_a_step_that_was_not_validated_is_replaced(workdir):
  with Checkpoints(workdir, keep=3) as checkpoints:
    checkpoints.save(tiny_run.checkpoint(4), None)
    assert checkpoints.best_step() == 2
    checkpoints.save(tiny_run.checkpoint(4), 5.0)
  folder = workdir / checkpoint_lib.FOLDER
  metrics = json.loads((folder / '4/metrics/metrics').read_text())
  assert metrics == {'validation_perplexity': 5.0}
  assert sorted(x.name for x in folder.iterdir()) == ['2', '3', '4']
  with Checkpoints(workdir) as checkpoints:
    assert (checkpoints.latest_step(), checkpoints.best_step()) == (4, 4)


@pytest.mark.parametrize('saved', [False, True])
def test_killed_while_a_step_is_replaced(workdir, saved):
  """Between the renaming and the new one, or before the old one is gone."""
  folder = workdir / checkpoint_lib.FOLDER
  if saved:
    shutil.copytree(folder / '3', folder / '3.replaced')
  else:
    (folder / '3').rename(folder / '3.replaced')
  with Checkpoints(workdir) as checkpoints:
    assert checkpoints.latest_step() == (3 if saved else 2)
  with Checkpoints(workdir) as checkpoints:
    checkpoints.make_way()
    assert checkpoints.latest_step() == 3
  assert sorted(x.name for x in folder.iterdir()) == ['1', '2', '3']


@pytest.mark.parametrize('step', [2, 3])
def test_what_is_not_saved_is_told(workdir, step):
  with (
    Checkpoints(workdir) as checkpoints,
    pytest.raises(InputError, match=f'step {step} is not saved.*holds step 3'),
  ):
    checkpoints.save(tiny_run.checkpoint(step), 1.0)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
  def full(*unused, **options):
    raise OSError(28, 'No space left on device')

  checkpoints = Checkpoints(tmp_path)
  checkpoints._open()
  monkeypatch.setattr(checkpoints._manager, 'save', full)
  with pytest.raises(InputError, match='step 1 .*No space left') as error:
    checkpoints.save(tiny_run.checkpoint(1), 20.0)
  assert str(tmp_path) in str(error.value)

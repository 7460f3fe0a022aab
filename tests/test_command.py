"""The command mrnn, and help: quick, of what is asked for alone."""

import json
import resource
import subprocess
import sys

import pytest

import mrnn_jax
from mrnn_jax import command, help_text, main, tasks
from mrnn_jax.config import FIELDS
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import along, cli


def run(monkeypatch, capsys, *args):
  """What the command says on stdout and stderr, and its exit code."""
  monkeypatch.setattr(sys, 'argv', ['mrnn', *args])
  for chosen in command.SUBCOMMANDS.values():
    # A command is the first to import what it runs; tests are not.
    for name in (chosen.module, f'{chosen.module}.__main__'):
      monkeypatch.delitem(sys.modules, name, raising=False)
  code = 0
  try:
    command.main()
  except SystemExit as end:
    code = end.code or 0
  out, err = capsys.readouterr()
  return code, out, err


def test_the_overview_names_all(monkeypatch, capsys):
  for args in ((), ('--help',), ('help',)):
    code, out, _ = run(monkeypatch, capsys, *args)
    assert code == 0
    for name in command.SUBCOMMANDS:
      assert f'\n  {name} ' in out
  assert run(monkeypatch, capsys, '--version')[1] == (
    f'mrnn {mrnn_jax.__version__}\n'
  )


def test_another_name_is_told(monkeypatch, capsys):
  code, _, err = run(monkeypatch, capsys, 'capton', 'photos')
  assert (code, err) == (
    1,
    'error: there is no mrnn capton: did you mean mrnn caption?\n',
  )
  assert 'see mrnn --help' in run(monkeypatch, capsys, 'xyzzy')[2]


@pytest.mark.parametrize('name', sorted(command.SUBCOMMANDS))
def test_subcommands_have_help_of_their_own(name, monkeypatch, capsys):
  code, out, _ = run(monkeypatch, capsys, name, '--help')
  assert code == 0
  assert out.strip()
  chosen = command.SUBCOMMANDS[name]
  if chosen.module == 'mrnn_jax.main':
    assert out.startswith(f'mrnn {name}')
    task = chosen.args[0].removeprefix('--task=')
    shown = {
      line.strip().removeprefix('--').removeprefix('[no]').partition('=')[0]
      for line in out.splitlines()
      if line.startswith('  --')
    }
    assert shown
    assert all(task in FIELDS[x].metadata['tasks'] for x in shown)
    assert 'task' not in shown
    # What a workdir holds fast is for whoever trains.
    assert ('learning_rate' in shown) == (name == 'train')


def test_help_is_there_at_once():
  code = (
    'import sys; sys.argv = ["mrnn", "caption", "--help"];'
    'from mrnn_jax import command; command.main();'
    'print("loaded", *{x.partition(".")[0] for x in sys.modules})'
  )
  begin = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
  out = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  ).stdout
  took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begin
  assert took < 1
  loaded = set(out.splitlines()[-1].split())
  assert not loaded & {'jax', 'flax', 'numpy', 'orbax', 'etils', 'tqdm'}


def test_the_help_that_is_kept_is_that_of_the_flags():
  """Renew it by: python -m mrnn_jax.help_text."""
  made = json.loads(json.dumps(help_text.made()))
  kept = json.loads(help_text.FILE.read_text())
  assert kept['groups'] == made['groups']
  # More modules may be loaded here than were then.
  same = {name: made['sources'].get(name) for name in kept['sources']}
  assert kept['sources'] == same


def test_help_is_made_anew_where_a_flag_is_new(tmp_path, monkeypatch):
  kept = json.loads(help_text.FILE.read_text())
  kept['sources']['mrnn_jax.config.run_fields'] = 'another'
  kept['groups'] = {}
  path = tmp_path / 'help.json'
  for text in (json.dumps(kept), '{', '{"groups": {}}'):
    path.write_text(text)
    monkeypatch.setattr(help_text, 'FILE', path)
    assert '--beam_size=3' in help_text.of(['main', '--help'])


@pytest.fixture
def given(monkeypatch):
  """What a command line comes to, without its work."""
  found = []
  monkeypatch.setattr(tasks, 'run', found.append)

  def parse(*args):
    from absl import flags

    values = flags.FlagValues()
    config_flags.define_flags(values)
    argv = ['main', '--nocompilation_cache', *args]
    monkeypatch.setattr(main.flags, 'FLAGS', values)
    monkeypatch.setattr(main.sys, 'argv', argv)
    cli.run(main.main, '', {}, argv, values, takes=99)
    return found.pop()

  return parse


@pytest.mark.parametrize(
  ('args', 'photos'),
  [
    (['photos'], 'photos'),
    (['a.jpg', 'b, c.jpg', '--nbest=2'], 'a.jpg\nb, c.jpg'),
    (
      ['--photos', 'a.jpg', 'b.jpg', 'c.jpg', '--nbest=2'],
      'a.jpg\nb.jpg\nc.jpg',
    ),
    (['--nbest', '2', '--photos=*.jpg'], '*.jpg'),
  ],
)
def test_photos_stand_without_a_flag(given, args, photos):
  found = given('--task=caption', *args)
  assert found.get('photos') == photos
  assert found.by_hand >= {'task'}
  if any('nbest' in x for x in args):
    assert found.get('nbest') == 2
    assert 'nbest' in found.by_hand


def test_no_other_task_takes_photos_so(given, capsys):
  with pytest.raises(SystemExit):
    given('--task=score', 'a.jsonl', 'b.jsonl')
  assert 'a pattern (*) stands in quotes' in capsys.readouterr().err


def test_flag_files_come_along(tmp_path, monkeypatch, given):
  monkeypatch.chdir(tmp_path)
  assert set(along.flag_files()) >= {'flickr8k.flags', 'demo.flags'}
  for args in (['--flagfile=demo.flags'], ['--flagfile', 'demo.flags']):
    assert given('--task=train', *args).get('dataset') == 'scenes'
  # One's own of that name prevails.
  (tmp_path / 'demo.flags').write_text('--dataset=mine')
  assert given('--flagfile=demo.flags').get('dataset') == 'mine'


def test_quiet_is_a_level(given, monkeypatch):
  levels = []
  monkeypatch.setattr(main.progress, 'set_level', levels.append)
  given('--quiet')
  given()
  assert levels == ['warning', 'info']


def test_training_from_python(tiny_data_dir, tmp_path):
  import tiny_run

  settings = {**tiny_run.OPTIONS}
  del settings['dataset'], settings['compilation_cache']
  model = mrnn_jax.train(
    'tiny', str(tmp_path), data_dir=str(tiny_data_dir), **settings
  )
  assert model.step > 0
  assert len(model.caption(model.norm_features[:2])) == 2
  for wrong in ({'learning_rat': 1.0}, {'num_epochs': 'many'}, {'task': 'x'}):
    with pytest.raises(ValueError, match='|'.join(wrong)):
      mrnn_jax.train('tiny', str(tmp_path), **wrong)


@pytest.mark.parametrize(
  ('task', 'lacking'),
  [
    ('caption', '--photos=DIR, photos of your own, or --workdir=W'),
    ('evaluate', '--workdir=W, the folder of a trained model'),
    ('score', '--features=FILE of your images, or --workdir=W'),
    ('report', '--workdir=W, the folder of a run that was evaluated'),
    ('export', '--workdir=W, the folder of a trained model'),
  ],
)
def test_what_is_lacking_is_named(task, lacking, tmp_path, monkeypatch):
  from mrnn_jax.config import Given

  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='wants') as caught:
    tasks.run(Given({'task': task}))
  assert f'--task={task} wants {lacking}' in str(caught.value)
  assert not [*tmp_path.iterdir()]


def test_a_mistake_leaves_no_folder(tmp_path, monkeypatch):
  from mrnn_jax.config import Given

  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='data_prep.build'):
    tasks.run(Given({'task': 'train', 'data_dir': str(tmp_path / 'none')}))
  assert not [*tmp_path.iterdir()]

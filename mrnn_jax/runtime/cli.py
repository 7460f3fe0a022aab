"""What the command lines share: grouped help, and errors in one sentence."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import difflib
import errno
import os
import re
import sys
import textwrap

from absl import flags

from mrnn_jax.runtime import allocator, along, progress, stopping
from mrnn_jax.runtime.errors import InputError, printable

FLAGS = flags.FLAGS

STOPPED = 'the same command goes on from what is saved.'

_ADVICE = {
  errno.ENOSPC: 'free some space',
  errno.EDQUOT: 'free some of your quota',
  errno.EFBIG: 'raise the limit on the size of files',
  errno.EROFS: 'name a folder that can be written',
  errno.EACCES: 'name a folder that you may read and write',
  errno.EPERM: 'name a folder that you may read and write',
  errno.EMFILE: 'raise the limit on open files (ulimit -n)',
}

# Kinds of flags, as absl calls them.
_KINDS = {
  'int': 'a whole number',
  'float': 'a number',
  'bool': 'true or false',
}

# What etils.epath reaches URLs by, where it is installed.
_STORAGE = {'gcsfs': 'gs://', 's3fs': 's3://'}


@dataclasses.dataclass(frozen=True)
class FlagHelp:
  """What the help says of a flag: its name, how it is written, its text."""

  name: str
  label: str
  text: str


def describe_flags(
  groups: Mapping[str, Sequence[str]], flag_values: flags.FlagValues
) -> dict[str, list[FlagHelp]]:
  """Return what the help says of flags, by the headings of their groups.

  Args:
    groups: heading -> names of flags.
    flag_values: where the flags are defined.
  """
  return {
    heading: [_describe(name, flag_values[name]) for name in names]
    for heading, names in groups.items()
  }


def _describe(name: str, flag: flags.Flag) -> FlagHelp:
  default = flag.default
  shown = {True: 'true', False: 'false', '': "''", None: '...'}.get(
    default, default
  )
  if isinstance(default, (int, float)) and not isinstance(default, bool):
    shown = default
  if flag.boolean:
    text = f'{flag.help} (default: {shown})'
    return FlagHelp(name, f'--[no]{name}', text)
  return FlagHelp(name, f'--{name}={shown}', flag.help)


def format_help(usage: str, groups: Mapping[str, Sequence[FlagHelp]]) -> str:
  """Return the help text: usage, then the flags by groups."""
  lines = [usage.strip(), '']
  for heading, described in groups.items():
    lines.append(f'{heading}:')
    for flag in described:
      lines.append(f'  {flag.label}')
      lines += textwrap.wrap(
        flag.text, 78, initial_indent='      ', subsequent_indent='      '
      )
    lines.append('')
  lines.append('A flag given after --flagfile=FILE overrides the file.')
  return '\n'.join(lines)


def wants_help(argv: Sequence[str]) -> bool:
  """Say whether a command line asks for help."""
  return any(arg in ('--help', '-help', '-h', '--helpfull') for arg in argv[1:])


def print_help(text: str) -> None:
  """Print a help text, of which somebody may want but the beginning."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    _close_output()


def _close_output() -> None:
  """Say nothing more to a reader of our output that is gone."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def no_flag(word: str) -> str:
  """Return the sentence on a word that is no flag where one is due."""
  return (
    f'"{word}" is not a flag: flags are --name=value, and a pattern (*) stands '
    'in quotes (see --help).'
  )


def _explain(error: flags.Error, flag_values: flags.FlagValues) -> str:
  """Turn absl's message into a sentence that says what to do."""
  if isinstance(error, flags.UnrecognizedFlagError):
    close = difflib.get_close_matches(error.flagname, list(flag_values), n=1)
    hint = f'did you mean --{close[0]}?' if close else 'see --help.'
    return f'there is no flag --{error.flagname}: {hint}'
  if isinstance(error, flags.CantOpenFlagFileError):
    name = str(error).rpartition(': ')[2].strip("'")
    return f'the flag file {name} cannot be opened: check --flagfile.'
  message = str(error).replace('\n', ' ')
  if isinstance(error, flags.IllegalFlagValueError):
    given = re.match(r'flag (--(\w+)=.*?): ', message)
    if given and given[2] in flag_values:
      kind = _KINDS.get(flag_values[given[2]].flag_type(), 'another value')
      return f'{printable(given[1])}: it wants {kind} (see --help).'
  message = re.sub(r'^flag (--\S+?): ', r'\1: ', message)
  return f'{printable(message)} (see --help).'


def _parse(
  argv: Sequence[str], flag_values: flags.FlagValues, takes: int
) -> list[str]:
  """Parse flags; return the arguments that are none."""
  try:
    _, *rest = flag_values(_with_flag_files(argv))
  except flags.Error as error:
    raise InputError(_explain(error, flag_values)) from error
  except OSError as error:
    raise InputError(
      f'the flag file {error.filename} cannot be read '
      f'({error.strerror}): check --flagfile.'
    ) from error
  if len(rest) > takes:
    raise InputError(no_flag(rest[takes]))
  return rest


def _with_flag_files(argv: Sequence[str]) -> list[str]:
  """Return a command line with the paths of the flag files that come along."""
  found, words = [], iter(argv)
  for word in words:
    name, equals, value = word.partition('=')
    if name in ('--flagfile', '-flagfile'):
      path = value if equals else next(words, None)
      if path is not None:
        word = f'--flagfile={along.find_flag_file(path)}'
    found.append(word)
  return found


def explain_os_error(error: OSError) -> str:
  """Say what the system refused, where, and what to do about it."""
  reason = error.strerror or str(error) or type(error).__name__
  where = f'{error.filename}: ' if error.filename else ''
  advice = _ADVICE.get(error.errno or 0, 'check the path and the disk')
  return f'{where}{reason}: {advice}, then run the same command again.'


def explain(error: BaseException, stopped: str) -> tuple[str, int]:
  """Return the last word of a command and its exit code.

  Args:
    error: what ended it.
    stopped: what to say after a signal, where the error says nothing.

  Returns:
    ('', 1) for an error of the program itself.
  """
  if isinstance(error, InputError):
    return f'error: {error}', 1
  if isinstance(error, KeyboardInterrupt):
    return f'stopped: {str(error) or stopped}', stopping.UNFINISHED
  if isinstance(error, OSError):
    return f'error: {explain_os_error(error)}', 1
  package = getattr(error.__cause__, 'name', None)
  if isinstance(error, ImportError) and package in _STORAGE:
    return (
      f'error: a path begins with {_STORAGE[package]}, which needs a package '
      f'that is not installed: pip install {package}.',
      1,
    )
  return '', 1


def _end(message: str, code: int) -> None:
  """Say the last word and exit."""
  sys.stdout.flush()
  progress.end_line()
  print(message, file=sys.stderr)
  sys.exit(code)


def run_with_flags(
  work: Callable[..., None],
  define_flags: Callable[[flags.FlagValues], Mapping[str, Sequence[str]]],
  usage: str,
  argv: Sequence[str] | None = None,
  stopped: str = STOPPED,
  takes: int = 0,
) -> None:
  """Parse flags of a command's own, run ``work`` with their values, and exit.

  Args:
    work: what to do; called with the arguments that are no flags, and with the
      value of each flag under its name.
    define_flags: defines them, and returns heading -> names of flags.
    usage: see ``run``.
    argv: see ``run``.
    stopped: see ``run``.
    takes: see ``run``.
  """
  values = flags.FlagValues()
  groups = dict(define_flags(values))
  names = list(values)
  flags.DEFINE_bool(
    'quiet', False, 'Results and warnings alone.', flag_values=values
  )
  groups['What is told'] = ['quiet']

  def main(*args: str):
    if values['quiet'].value:
      progress.set_level('warning')
    work(*args, **{name: values[name].value for name in names})

  run(main, usage, groups, argv, values, stopped, takes)


def run(
  main: Callable[..., None],
  usage: str,
  groups: Mapping[str, Sequence[str]],
  argv: Sequence[str] | None = None,
  flag_values: flags.FlagValues = FLAGS,
  stopped: str = STOPPED,
  takes: int = 0,
) -> None:
  """Parse flags, run ``main`` and exit.

  The exit code is 0 when all is done, 1 after a mistake or fault that the
  message names, and 75 after SIGTERM or SIGINT: unfinished, run me again.

  Args:
    main: what to do once the flags are parsed; called with the arguments
      that are no flags.
    usage: the head of the help text.
    groups: heading -> names of flags, for the help text.
    argv: the command line; ``sys.argv`` by default.
    flag_values: where the flags are defined.
    stopped: what to say after a signal, where the work itself says nothing.
    takes: how many arguments that are no flags there may be, wherever they
      stand.
  """
  flag_values.set_gnu_getopt(True)
  allocator.keep_freed_memory()
  argv = list(sys.argv if argv is None else argv)
  if wants_help(argv):
    print_help(format_help(usage, describe_flags(groups, flag_values)))
    sys.exit(0)
  try:
    with stopping.handled():
      main(*_parse(argv, flag_values, takes))
  except BrokenPipeError:
    _close_output()
    sys.exit(1)
  except (InputError, KeyboardInterrupt, OSError, ImportError) as error:
    message, code = explain(error, stopped)
    if not message:
      raise
    _end(message, code)

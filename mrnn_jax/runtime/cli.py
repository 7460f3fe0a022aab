"""What the command lines share: grouped help, and errors in one sentence."""

from collections.abc import Callable, Mapping, Sequence
import difflib
import errno
import os
import re
import sys
import textwrap

from absl import flags

from mrnn_jax.runtime import allocator, progress, stopping
from mrnn_jax.runtime.errors import InputError

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

# What etils.epath reaches URLs by, where it is installed.
_STORAGE = {'gcsfs': 'gs://', 's3fs': 's3://'}


def format_help(
  usage: str,
  groups: Mapping[str, Sequence[str]],
  flag_values: flags.FlagValues = FLAGS,
) -> str:
  """Return the help text: usage, then the flags by groups.

  Args:
    usage: what stands above the flags.
    groups: heading -> names of flags.
    flag_values: where the flags are defined.
  """
  lines = [usage.strip(), '']
  for heading, names in groups.items():
    lines.append(f'{heading}:')
    for name in names:
      flag = flag_values[name]
      default = flag.default
      shown = {True: 'true', False: 'false', '': "''", None: '...'}.get(
        default, default
      )
      if isinstance(default, (int, float)) and not isinstance(default, bool):
        shown = default
      label = f'--[no]{name}' if flag.boolean else f'--{name}={shown}'
      text = flag.help + (f' (default: {shown})' if flag.boolean else '')
      lines.append(f'  {label}')
      lines += textwrap.wrap(
        text, 78, initial_indent='      ', subsequent_indent='      '
      )
    lines.append('')
  lines.append('A flag given after --flagfile=FILE overrides the file.')
  return '\n'.join(lines)


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
  message = re.sub(r'^flag (--\S+?): ', r'\1: ', message)
  return f'{message} (see --help).'


def _parse(
  argv: Sequence[str], flag_values: flags.FlagValues, takes: int
) -> list[str]:
  """Parse flags; return the arguments that are none."""
  try:
    _, *rest = flag_values(argv)
  except flags.Error as error:
    raise InputError(_explain(error, flag_values)) from error
  except OSError as error:
    raise InputError(
      f'the flag file {error.filename} cannot be read '
      f'({error.strerror}): check --flagfile.'
    ) from error
  if len(rest) > takes:
    raise InputError(
      f'"{rest[takes]}" is not a flag: flags are --name=value (see --help).'
    )
  return rest


def explain_os_error(error: OSError) -> str:
  """Say what the system refused, where, and what to do about it."""
  reason = error.strerror or str(error) or type(error).__name__
  where = f'{error.filename}: ' if error.filename else ''
  advice = _ADVICE.get(error.errno, 'check the path and the disk')
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
  groups = define_flags(values)

  def main(*args: str):
    work(*args, **{name: values[name].value for name in values})

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
    takes: how many arguments that are no flags there may be.
  """
  allocator.keep_freed_memory()
  argv = list(sys.argv if argv is None else argv)
  if any(arg in ('--help', '-help', '-h', '--helpfull') for arg in argv[1:]):
    print(format_help(usage, groups, flag_values))
    sys.exit(0)
  try:
    with stopping.handled():
      main(*_parse(argv, flag_values, takes))
  except BrokenPipeError:
    # The reader of our output is gone; say nothing more to it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except (InputError, KeyboardInterrupt, OSError, ImportError) as error:
    message, code = explain(error, stopped)
    if not message:
      raise
    _end(message, code)

"""What the command lines share: grouped help, and errors in one sentence."""

from collections.abc import Callable, Mapping, Sequence
import difflib
import os
import re
import sys
import textwrap

from absl import flags

from mrnn_jax.errors import InputError

FLAGS = flags.FLAGS


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
  message = str(error).replace('\n', ' ')
  message = re.sub(r'^flag (--\S+?): ', r'\1: ', message)
  return f'{message} (see --help).'


def run(
  main: Callable[..., None],
  usage: str,
  groups: Mapping[str, Sequence[str]],
  argv: Sequence[str] | None = None,
  flag_values: flags.FlagValues = FLAGS,
  stopped: str = 'the same command goes on from what is saved.',
  takes: int = 0,
) -> None:
  """Parse flags, run ``main`` and exit: 0, or 1 after a user's mistake.

  Args:
    main: what to do once the flags are parsed; called with the arguments
      that are no flags.
    usage: the head of the help text.
    groups: heading -> names of flags, for the help text.
    argv: the command line; ``sys.argv`` by default.
    flag_values: where the flags are defined.
    stopped: what to say after Ctrl-C.
    takes: how many arguments that are no flags there may be.
  """
  argv = list(sys.argv if argv is None else argv)
  if any(arg in ('--help', '-help', '-h', '--helpfull') for arg in argv[1:]):
    print(format_help(usage, groups, flag_values))
    sys.exit(0)
  try:
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
    main(*rest)
  except InputError as error:
    sys.stdout.flush()
    print(f'error: {error}', file=sys.stderr)
    sys.exit(1)
  except KeyboardInterrupt:
    print(f'\nstopped: {stopped}', file=sys.stderr)
    sys.exit(130)
  except BrokenPipeError:
    # The reader of our output is gone; say nothing more to it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)

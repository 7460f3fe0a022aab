"""The one exception for mistakes that a user can mend."""


class InputError(ValueError):
  """Input, flags or files that cannot be used as they are.

  The message is one sentence for the user: what is wrong, where, and what to
  do about it.  Command lines print it without a traceback and exit with 1.
  """

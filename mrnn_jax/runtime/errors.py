"""The one exception for mistakes that a user can mend, and its words."""


class InputError(ValueError):
  """Input, flags or files that cannot be used as they are.

  The message is one sentence for the user: what is wrong, where, and what to
  do about it.  Command lines print it without a traceback and exit with 1.
  """


def printable(text: str) -> str:
  """Return a text without what would steer a terminal or not encode."""
  return ''.join(c if c.isprintable() else '?' for c in text)

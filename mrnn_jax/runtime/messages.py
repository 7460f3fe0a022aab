"""What others have written, put so that it fits into one sentence."""

from collections.abc import Iterable

from mrnn_jax.runtime.errors import printable

MAX_NAME = 1_000


def first_line(error: BaseException) -> str:
  """Return what an exception says, short enough for one sentence."""
  text = printable(str(error).split('\n')[0])[:300]
  return text.rstrip('.') or type(error).__name__


def listed(names: Iterable[str]) -> str:
  """Return names for a message, whatever they are called and however many."""
  names = list(names)
  first = ', '.join(printable(name[:50]) for name in names[:10])
  return (first or 'nothing') + (', ...' if len(names) > 10 else '')


def is_name(text: str) -> bool:
  """Whether text can name an image: on one line, in UTF-8, not too long."""
  return len(text) <= MAX_NAME and not any(_is_odd(c) for c in text)


def _is_odd(character: str) -> bool:
  """Whether it is a control character or half of one."""
  code = ord(character)
  return code < 32 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000


def shorten(text: str, width: int = 40) -> str:
  """Quote the beginning of a text for a message."""
  return repr(text[:width] + ('...' if len(text) > width else ''))


def counted(count: int, noun: str) -> str:
  """Return '1 photo', '2 photos'."""
  return f'{count:,} {noun}' + ('' if count == 1 else 's')


def of_all(count: int, total: int, noun: str, done: str) -> str:
  """Return '19 of 24 photos captioned', '24 photos captioned'."""
  some = f'{count:,} of ' if count < total else ''
  return f'{some}{counted(total, noun)} {done}'

"""The steps of pickles: how each is written, and what the machine does then.

A step is given the machine and where its argument begins, and tells where the
next step begins.
"""

import codecs
from collections.abc import Callable
import functools
import pickletools
import struct
from typing import Any

from mrnn_jax.runtime.pickles.machine import (
  SET_ITEMS,
  Machine,
  RefusedError,
  add_items,
  expect,
)

Step = Callable[[Machine, int], int]

# Longer numbers are none, and to multiply them takes for ever.
_MAX_NUMBER_BYTES = 1000


def _plain(do: Callable[[Machine], Any]) -> Step:
  """Return a step without an argument."""

  def step(machine: Machine, at: int) -> int:
    do(machine)
    return at

  return step


def _push(make: Callable[[], Any]) -> Step:
  return _plain(lambda machine: machine.stack.append(make()))


def _fixed(form: str, use: Callable[[Machine, Any], Any]) -> Step:
  """Return a step whose argument is a number in so many bytes."""
  unpack, size = struct.Struct(form).unpack_from, struct.calcsize(form)

  def step(machine: Machine, at: int) -> int:
    use(machine, unpack(machine.data, at)[0])
    return at + size

  return step


def _counted(form: str, use: Callable[[Machine, bytes], Any]) -> Step:
  """Return a step whose argument is a number of bytes, and these."""
  unpack, size = struct.Struct(form).unpack_from, struct.calcsize(form)

  def step(machine: Machine, at: int) -> int:
    data = machine.data
    begin = at + size
    end = begin + unpack(data, at)[0]
    if end > len(data):
      raise ValueError('it ends too early')
    use(machine, data[begin:end])
    return end

  return step


def _lines(count: int, use: Callable[..., Any]) -> Step:
  """Return a step whose arguments are lines of text."""

  def step(machine: Machine, at: int) -> int:
    lines = []
    for _ in range(count):
      line, at = machine.line(at)
      lines.append(line)
    use(machine, *lines)
    return at

  return step


def _refuse(name: str) -> Step:
  def step(machine: Machine, at: int) -> int:
    raise RefusedError(f'asks for {name}')

  return step


def _unknown(machine: Machine, at: int) -> int:
  raise ValueError(f'unknown step {machine.data[at - 1]:#04x}')


def _push_value(machine: Machine, value: Any) -> None:
  machine.stack.append(value)


def _push_text(machine: Machine, text: bytes) -> None:
  machine.stack.append(text.decode('utf-8', 'surrogatepass'))


def _push_quoted(machine: Machine, line: bytes) -> None:
  """Push a text as Python 2 writes it into programs."""
  quote = line[:1]
  if len(line) < 2 or quote not in (b'"', b"'") or line[-1:] != quote:
    raise ValueError('a text without its quotes')
  machine.push_python_2(codecs.escape_decode(line[1:-1])[0])


def _push_digits(machine: Machine, line: bytes) -> None:
  """Push a whole number, or a truth value as the first protocols have it."""
  truth = {b'00': False, b'01': True}
  machine.stack.append(truth[line] if line in truth else int(line))


def _push_long(machine: Machine, data: bytes) -> None:
  if len(data) > _MAX_NUMBER_BYTES:
    raise ValueError(f'a number of {len(data):,} bytes')
  machine.stack.append(int.from_bytes(data, 'little', signed=True))


def _get(machine: Machine, number: int) -> None:
  machine.stack.append(machine.memo[number])


# Most steps of a list of captions are these; written out, they take half the
# time.


def _get_short(machine: Machine, at: int) -> int:
  machine.stack.append(machine.memo[machine.data[at]])
  return at + 1


def _memoize(machine: Machine, at: int) -> int:
  machine.memo[len(machine.memo)] = machine.stack[-1]
  return at


def _put_short(machine: Machine, at: int) -> int:
  machine.memo[machine.data[at]] = machine.stack[-1]
  return at + 1


def _short_text(machine: Machine, at: int) -> int:
  data, begin = machine.data, at + 1
  end = begin + data[at]
  if end > len(data):
    raise ValueError('it ends too early')
  machine.stack.append(data[begin:end].decode('utf-8', 'surrogatepass'))
  return end


def _stack_global(machine: Machine) -> None:
  member, module = machine.stack.pop(), machine.stack.pop()
  machine.look_up(f'{expect(module, str)}.{expect(member, str)}')


def _append(machine: Machine) -> None:
  machine.append([machine.stack.pop()])


def _set_item(machine: Machine) -> None:
  value, key = machine.stack.pop(), machine.stack.pop()
  machine.set_items([key, value])


def _dict(machine: Machine) -> None:
  items = machine.pop_to_mark()
  machine.stack.append({})
  machine.set_items(items)


def _add_items(machine: Machine) -> None:
  items = machine.pop_to_mark()
  add_items(expect(machine.stack[-1], set), items)


def _push_frozenset(machine: Machine) -> None:
  items = machine.pop_to_mark()
  machine.spend(SET_ITEMS)
  machine.stack.append(frozenset(add_items(set(), items)))


_BY_NAME: dict[str, Step] = {
  'APPEND': _plain(_append),
  'APPENDS': _plain(lambda m: m.append(m.pop_to_mark())),
  'BINBYTES': _counted('<I', _push_value),
  'BINBYTES8': _counted('<Q', _push_value),
  'BINFLOAT': _fixed('>d', _push_value),
  'BINGET': _get_short,
  'BININT': _fixed('<i', _push_value),
  'BININT1': _fixed('<B', _push_value),
  'BININT2': _fixed('<H', _push_value),
  'BINPERSID': _plain(lambda m: m.refer(m.stack.pop())),
  'BINPUT': _put_short,
  'BINSTRING': _counted('<I', Machine.push_python_2),
  'BINUNICODE': _counted('<I', _push_text),
  'BINUNICODE8': _counted('<Q', _push_text),
  'BUILD': _plain(Machine.set_state),
  'BYTEARRAY8': _counted('<Q', _push_value),
  'DICT': _plain(_dict),
  'EMPTY_DICT': _push(dict),
  'EMPTY_LIST': _push(list),
  'EMPTY_SET': _plain(Machine.build_set),
  'EMPTY_TUPLE': _push(tuple),
  'ADDITEMS': _plain(_add_items),
  'FLOAT': _lines(1, lambda m, line: m.stack.append(float(line))),
  'FRAME': _fixed('<Q', lambda m, size: None),
  'FROZENSET': _plain(_push_frozenset),
  'GET': _lines(1, lambda m, line: _get(m, int(line))),
  'GLOBAL': _lines(2, lambda m, *x: m.look_up(b'.'.join(x).decode())),
  'INT': _lines(1, _push_digits),
  'LIST': _plain(lambda m: m.stack.append(m.pop_to_mark())),
  'LONG': _lines(1, lambda m, line: m.stack.append(int(line.rstrip(b'L')))),
  'LONG1': _counted('<B', _push_long),
  'LONG4': _counted('<I', _push_long),
  'LONG_BINGET': _fixed('<I', _get),
  'LONG_BINPUT': _fixed('<I', Machine.put),
  'MARK': _plain(Machine.mark),
  'MEMOIZE': _memoize,
  'NEWFALSE': _push(lambda: False),
  'NEWOBJ': _plain(Machine.call),
  'NEWTRUE': _push(lambda: True),
  'NONE': _push(lambda: None),
  'PERSID': _lines(1, lambda m, line: m.refer(line.decode())),
  'PROTO': _fixed('<B', lambda m, version: None),
  'PUT': _lines(1, lambda m, line: m.put(int(line))),
  'REDUCE': _plain(Machine.call),
  'SETITEM': _plain(_set_item),
  'SETITEMS': _plain(lambda m: m.set_items(m.pop_to_mark())),
  'SHORT_BINBYTES': _counted('<B', _push_value),
  'SHORT_BINSTRING': _counted('<B', Machine.push_python_2),
  'SHORT_BINUNICODE': _short_text,
  'STACK_GLOBAL': _plain(_stack_global),
  'STRING': _lines(1, _push_quoted),
  'TUPLE': _plain(lambda m: m.stack.append(tuple(m.pop_to_mark()))),
  'TUPLE1': _plain(functools.partial(Machine.build_tuple, count=1)),
  'TUPLE2': _plain(functools.partial(Machine.build_tuple, count=2)),
  'TUPLE3': _plain(functools.partial(Machine.build_tuple, count=3)),
  'UNICODE': _lines(
    1, lambda m, line: m.stack.append(line.decode('raw-unicode-escape'))
  ),
}
STOP = ord('.')
# Byte -> step.
STEPS: list[Step] = [_unknown] * 256
for _code in pickletools.opcodes:
  STEPS[ord(_code.code)] = _BY_NAME.get(_code.name) or _refuse(_code.name)

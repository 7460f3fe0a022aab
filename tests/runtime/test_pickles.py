"""The machine that reads pickles: what plain ones hold, nothing of others."""

import collections
import math
import pickle
import pickletools
import random
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from mrnn_jax.runtime import pickles

TABLE = pickles.Table({**pickles.CONTAINERS, '_codecs.encode': str.encode})

plain_keys = st.one_of(
  st.text(), st.binary(), st.booleans(), st.none(), st.integers(-(2**63), 2**63)
)
plain_values = st.recursive(
  st.one_of(plain_keys, st.floats(allow_nan=False), st.integers()),
  lambda inner: st.one_of(
    st.lists(inner),
    st.lists(inner).map(tuple),
    st.dictionaries(plain_keys, inner),
    st.dictionaries(plain_keys, inner).map(collections.OrderedDict),
    st.sets(plain_keys),
    st.frozensets(plain_keys),
  ),
  max_leaves=20,
)


@settings(deadline=None, max_examples=80)
@given(plain_values, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value, protocol):
  # Twice the same objects, so that the memo is used.
  data = pickle.dumps([value, value], protocol)
  found, end = pickles.read(b'ab' + data + b'cd', TABLE, 2)
  assert found == [value, value]
  assert [type(x) for x in found] == [
    dict if type(value) is collections.OrderedDict else type(value)
  ] * 2
  assert end == 2 + len(data)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_large_containers_and_long_texts(protocol):
  value = {
    'list': [*range(3000)],
    'text': ['caf\xe9 \u732b \U0001f408 \n \\' * 100, 'x' * 70_000],
    'bytes': [bytes(range(256)), b'x' * 70_000],
    'numbers': [-1, 255, 2**16, -(2**31), 2**40, 10**100, -(10**100), 0.1],
    'special': [math.inf, -math.inf, True, False, None, (), [], {}],
    'tuples': [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    'sets': [set(range(2000)), frozenset('abc')],
  }
  assert pickles.read(pickle.dumps(value, protocol), TABLE)[0] == value


@pytest.mark.parametrize(
  'program',
  [b'U\x02\xe9x.', b'T\x02\0\0\0\xe9x.', b"S'\\xe9x'\np0\n.", b'S"\\xe9x"\n.'],
)
def test_texts_of_python_2(program):
  assert pickles.read(program, TABLE)[0] == b'\xe9x'
  latin = pickles.Table({}, python_2='latin-1')
  assert pickles.read(program, latin)[0] == '\xe9x'


@pytest.mark.parametrize(
  ('program', 'reason'),
  [
    (b'cos\nsystem\n(S"x"\ntR.', 'asks for os.system'),
    (b'\x8c\x02os\x8c\x06system\x93.', 'asks for os.system'),
    (b'\x8c\x04o\x1b\ns\x8c\x06system\x93.', r'asks for o\?\?s.system'),
    (b'c' + b'o' * 5000 + b'\nx\n.', r'asks for o{100}\.\.\.$'),
    (b'cbuiltins\nlist.__class__\n.', 'asks for builtins.list.__class__'),
    (b'(S"x"\nios\nsystem\n.', 'asks for INST'),
    (b'(cbuiltins\nlist\no.', 'asks for OBJ'),
    (b'\x82\x01.', 'asks for EXT1'),
    (b'cbuiltins\nlist\n)}\x92.', 'asks for NEWOBJ_EX'),
    (b'\x97.', 'asks for NEXT_BUFFER'),
    (b']0.', 'asks for POP'),
    (b']2.', 'asks for DUP'),
    (b'cbuiltins\nlist\n}b.', 'sets the state of what has none'),
    (b'Pkey\n.', 'refers to what is not in it'),
    (b'K\x01Q.', 'refers to what is not in it'),
    (b'}(K\x01\x85K\x02u.', 'a dictionary with a tuple as key'),
    (b'(K\x01\x85K\x02d.', 'a dictionary with a tuple as key'),
    (b'}\x8a\x09' + b'\xff' * 8 + b'\x01K\x02s.', 'number of many digits as'),
    (b'\x8f()\x90.', 'a set with a tuple in it'),
    (b'()\x91.', 'a set with a tuple in it'),
    (b'cbuiltins\nset\n])a\x85R.', 'a set with a tuple in it'),
  ],
)
def test_what_is_refused(program, reason):
  with pytest.raises(pickles.RefusedError, match=reason):
    pickles.read(program, TABLE)


@pytest.mark.parametrize(
  ('program', 'reason'),
  [
    (b'', 'ends too early'),
    (b']', 'ends too early'),
    (b'.', 'what is not there'),
    (b'K\x01t.', 'what is not there'),
    (b'(a.', 'what is not there'),
    (b'NN(\x86t.', 'a mark where'),
    (b'h\x05.', 'no memo entry 5'),
    (b'Nr\xff\xff\xff\x7f.', 'memo entry 2,147,483,647'),
    (b'Np-1\n.', 'memo entry -1'),
    (b'J\x01\0', 'ends too early'),
    (b'X\xff\xff\xff\x7fabc.', 'ends too early'),
    (b'\x8d' + b'\xff' * 8 + b'abc.', 'ends too early'),
    (b'S"x\n.', 'without its quotes'),
    (b'X\x01\0\0\0\xff.', 'utf-8'),
    (b'I12', 'not found'),
    (b'\xff.', 'unknown step 0xff'),
    (b'NK\x01a.', 'a NoneType where a list belongs'),
    (b'N}b.', 'state'),
    (b'cbuiltins\nlist\nK\x05\x85R.', 'must be an iterable'),
    (b'cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.', 'argument'),
    (b'cbuiltins\nlist\nK\x01R.', 'a int where a tuple belongs'),
    (b'K\x01)R.', 'a int where a Name belongs'),
    (b'\x8b\xff\xff\0\0' + b'\xff' * 65535 + b'.', 'a number of 65,535 bytes'),
    (b'I' + b'9' * 5000 + b'\n.', 'digits'),
  ],
)
def test_what_is_broken(program, reason):
  with pytest.raises(ValueError, match=reason):
    pickles.read(program, TABLE)


def test_only_so_many_steps():
  table = pickles.Table({}, max_steps=4)
  assert pickles.read(b'(]t.', table)[0] == ([],)
  with pytest.raises(pickles.RefusedError, match='of more than 4 steps'):
    pickles.read(b'(]]t.', table)


@pytest.mark.parametrize('name', ['list', 'dict', 'set', 'frozenset'])
def test_copies_are_counted(name):
  """200 KB that would become 230 MB."""
  numbers = b''.join(b'J%b' % i.to_bytes(4, 'little') for i in range(20_000))
  if name == 'dict':
    items = b'}(' + numbers + b'uq\x00'
  else:
    items = b'](' + numbers + b'eq\x00'
  step = b'cbuiltins\n%b\nh\x00\x85R' % name.encode()
  once, _ = pickles.read(items + step + b'.', TABLE)
  assert len(once) in (10_000, 20_000)
  data = items + b'](' + step * 1500 + b'e.'
  tracemalloc.start()
  try:
    with pytest.raises(pickles.RefusedError, match='far more than it has'):
      pickles.read(data, TABLE)
    assert tracemalloc.get_traced_memory()[1] < 25 * 2**20
  finally:
    tracemalloc.stop()


def test_what_people_pickle_is_not_refused_for_its_size():
  """Every list, set and dictionary is built by a call, and once."""
  value = [{f'{i} {j}' for j in range(5)} for i in range(5000)]
  for protocol in range(4):
    data = pickle.dumps([value, *map(collections.OrderedDict, [[]] * 9000)])
    assert pickles.read(data, TABLE)[0][0] == value, protocol


@pytest.mark.parametrize(
  'seed',
  [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))],
)
def test_programs_made_by_chance(seed):
  """Any steps end in a value or a refusal, and take little memory."""
  rng = random.Random(seed)
  codes = [ord(x.code) for x in pickletools.opcodes]
  # Those that build, more often.
  codes += [*b'](}a)tesuRbh\x90\x91\x8fq\x85\x86'] * 4
  head = b'cbuiltins\nlist\nq\x00cbuiltins\nset\nq\x01](K\x01K\x02eq\x02'
  counts = collections.Counter()
  tracemalloc.start()
  try:
    for _ in range(2500):
      steps = [head]
      for _ in range(rng.randrange(60)):
        steps.append(bytes([rng.choice(codes)]))
        if rng.random() < 0.7:
          steps.append(bytes(rng.choices(range(4), k=rng.choice((1, 1, 4)))))
      data = b''.join(steps) + b'.'
      tracemalloc.reset_peak()
      before = tracemalloc.get_traced_memory()[0]
      try:
        pickles.read(data, TABLE)
        counts['value'] += 1
      except pickles.RefusedError:
        counts['refused'] += 1
      except ValueError:
        counts['broken'] += 1
      assert tracemalloc.get_traced_memory()[1] - before < 200_000
  finally:
    tracemalloc.stop()
  assert len(counts) == 3, counts

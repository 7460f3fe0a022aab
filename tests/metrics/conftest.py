import json
import pathlib

import pytest


@pytest.fixture(scope='session')
def golden():
  """Captions and what pycocoevalcap 1.2 makes of them.

  'all' is with all references of each caption, 'first' with the first alone.
  """
  path = pathlib.Path(__file__).parent / 'golden.json'
  return json.loads(path.read_text(encoding='utf-8'))


@pytest.fixture(scope='session', params=['all', 'first'])
def golden_case(request, golden):
  """Hypotheses, references and golden values of one of the two cases."""
  references = golden['references']
  if request.param == 'first':
    references = [texts[:1] for texts in references]
  return golden['hypotheses'], references, golden[request.param]

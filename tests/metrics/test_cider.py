import pytest

from mrnn_jax import metrics


def test_golden_values(golden_case):
  hypotheses, references, golden = golden_case
  result = metrics.cider_d(hypotheses, references)
  assert result == pytest.approx(golden['cider_d'], abs=1e-6)


def test_itself_is_ten_and_nothing_in_common_is_zero():
  texts = ['a dog runs here now', 'two cats sleep there now', 'no one is near']
  references = [[text] for text in texts]
  assert metrics.cider_d(texts, references) == pytest.approx([10, 10, 10])
  assert metrics.cider_d(texts[::-1], references)[0] == 0


def test_words_of_every_document_weigh_nothing():
  texts = ['a dog', 'a dog']
  assert not metrics.cider_d(texts, [['a dog'], ['a dog']]).any()
  assert not metrics.cider_d(['a dog'], [['a dog']]).any()


def test_several_hypotheses_of_an_image_leave_its_weight(golden):
  hypotheses, references = golden['hypotheses'], golden['references']
  repeated = metrics.cider_d(
    hypotheses * 2, references * 2, documents=references
  )
  assert repeated == pytest.approx(golden['all']['cider_d'] * 2, abs=1e-6)

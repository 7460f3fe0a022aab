"""Log P of words by kernels, interpreted, and plainly; formulas in float64."""

import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from small_models import make

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.models import fused_readout, losses
from mrnn_jax.models.fused_readout import Blocks, Form, grid, kernels, trial
from mrnn_jax.models.losses import LastLayer
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training.objectives import Likelihood

# Nothing is a multiple of its blocks.
n, H, V = 37, 20, 170
SMALL = Blocks(16, 32, 16, 16)
FORM = Form(forward=SMALL, of_hidden=SMALL, of_kernel=SMALL)
# Beyond the vocabulary, in its first tile, and a whole tile.
MASKED = [0, 1, 2, *range(32, 64), V - 1]


class Device(NamedTuple):
  platform: str
  device_kind: str = 'Some GPU'


def draw(seed=0):
  rng = np.random.default_rng(seed)
  hidden = rng.normal(size=(n, H)).astype(np.float32)
  kernel = rng.normal(size=(H, V)).astype(np.float32)
  bias = rng.normal(size=V).astype(np.float32)
  words = rng.integers(3, 32, n).astype(np.int32)
  words[:3] = 3, 64, V - 2
  weights = rng.normal(size=n).astype(np.float32)
  weights[5] = 0
  return types.SimpleNamespace(
    last=LastLayer(hidden, kernel, bias), words=words, weights=weights
  )


def in_double(last, rounded=lambda x: x):
  """Log P [n, V], and P."""
  hidden, kernel = (np.float64(rounded(x)) for x in last[:2])
  logits = hidden @ kernel + last.bias
  logits -= logits.max(1, keepdims=True)
  log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  return log_probs, np.exp(log_probs)


def gradients_in_double(drawn, probs, rounded=lambda x: x):
  """Of sum_n weight log P by hidden, W and b."""
  by_logits = -probs
  by_logits[np.arange(n), drawn.words] += 1
  by_logits *= drawn.weights[:, None]
  hidden, kernel = (np.float64(rounded(x)) for x in drawn.last[:2])
  rounded_too = np.float64(rounded(np.float32(by_logits)))
  return rounded_too @ kernel.T, hidden.T @ rounded_too, by_logits.sum(0)


def by_kernels(dtype='float32'):
  form = Form(dtype, forward=SMALL, of_hidden=SMALL, of_kernel=SMALL)
  return lambda last, words: fused_readout.log_probs(last, words, form)


def plainly(dtype='float32'):
  return lambda last, words: losses.log_probs(last, words, dtype, 'highest')


both_forms = pytest.mark.parametrize('form', [by_kernels, plainly])


def value_and_gradients(drawn, log_probs):
  @jax.jit
  def both(last, words, weights):
    def cost(last):
      values = log_probs(last, words)
      return (values * weights).sum(), values

    (_, values), gradients = jax.value_and_grad(cost, has_aux=True)(last)
    return values, gradients

  return both(drawn.last, drawn.words, drawn.weights)


_cut = grid.Grid.cut.__func__


def cut_to_the_end(cls, *sizes, most=None):
  return _cut(cls, *sizes)


@pytest.mark.parametrize(
  ('form', 'programs'),
  [
    pytest.param(by_kernels, 1, marks=pytest.mark.slow),
    (by_kernels, 6),
    pytest.param(by_kernels, 256, marks=pytest.mark.slow),
    (plainly, 1),
  ],
)
def test_log_probs_and_gradients(form, programs, monkeypatch):
  """However the vocabulary is shared out over programs."""
  monkeypatch.setattr(grid, '_PROGRAMS', programs)
  # So that the sums of the gradients come in parts too.
  monkeypatch.setattr(grid.Grid, 'cut', classmethod(cut_to_the_end))
  drawn = draw()
  log_probs, probs = in_double(drawn.last)
  values, gradients = value_and_gradients(drawn, form())
  expected = log_probs[np.arange(n), drawn.words]
  np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
  for found, wanted in zip(
    gradients, gradients_in_double(drawn, probs), strict=True
  ):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@both_forms
@pytest.mark.parametrize(
  'lowest', [pytest.param(-1e9, marks=pytest.mark.slow), -np.inf]
)
def test_masked_words_have_no_share(form, lowest):
  drawn = draw()
  drawn.last.bias[MASKED] = lowest
  values, gradients = value_and_gradients(drawn, form())
  left = np.setdiff1d(np.arange(V), MASKED)
  last = LastLayer(
    drawn.last.hidden, drawn.last.kernel[:, left], drawn.last.bias[left]
  )
  log_probs, _ = in_double(last)
  place = np.searchsorted(left, drawn.words)
  expected = log_probs[np.arange(n), place]
  np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
  assert np.isfinite(gradients.hidden).all()
  assert not np.asarray(gradients.kernel)[:, MASKED].any()
  assert not np.asarray(gradients.bias)[MASKED].any()
  assert np.asarray(gradients.bias)[left].all()


@both_forms
def test_bfloat16_rounds_operands_and_no_sum(form):
  def rounded(x):
    return np.asarray(x, ml_dtypes.bfloat16)

  drawn = draw()
  log_probs, probs = in_double(drawn.last, rounded)
  values, gradients = value_and_gradients(drawn, form('bfloat16'))
  expected = log_probs[np.arange(n), drawn.words]
  np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
  # What is rounded there is a hair from what is rounded here: one last bit;
  # and the plain form rounds before it divides by the sum.
  most, mean = (4e-3, 1e-4) if form is by_kernels else (2e-2, 2e-3)
  for found, wanted in zip(
    gradients, gradients_in_double(drawn, probs, rounded), strict=True
  ):
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=most)
    assert np.abs(found - wanted).mean() < mean


def test_several_words_of_a_row():
  drawn = draw()
  last = LastLayer(drawn.last.hidden.reshape(1, n, H), drawn.last.kernel, None)
  rows, words = np.array([0, 36, 36, 5]), np.array([169, 3, 4, 0])

  @jax.jit
  def both(last):
    chosen = fused_readout.chosen_logits(last, rows, words, 'float32')
    return chosen - fused_readout.log_normalizer(last, FORM)[:, rows]

  log_probs, _ = in_double(drawn.last._replace(bias=0))
  np.testing.assert_allclose(
    both(last), log_probs[None, rows, words], rtol=1e-5, atol=1e-5
  )


def lowered(fn, *shapes):
  arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
  return jax.jit(fn).trace(*arguments).lower(lowering_platforms=('cuda',))


def test_gpus_get_kernels_and_no_matrix_of_logits():
  """Of the sizes that people train, as far as that goes without a GPU."""

  def cost(hidden, kernel, bias, words):
    last = LastLayer(hidden, kernel, bias)
    return fused_readout.log_probs(last, words, Form('bfloat16')).sum()

  text = lowered(
    jax.grad(cost, (0, 1, 2)),
    ((1200, 512), jnp.float32),
    ((512, 10007), jnp.float32),
    ((10007,), jnp.float32),
    ((1200,), jnp.int32),
  ).as_text()
  assert text.count('@__gpu$xla.gpu.triton(') == 3
  assert '1200x10007' not in text and '10007x1200' not in text
  assert '512x10007xbf16' in text  # Rounded on the way.


def test_wide_layers_have_small_blocks():
  blocks = Blocks(64, 128)
  assert blocks.fitting('rows', 512) == blocks
  assert blocks.fitting('rows', 1024) == Blocks(32, 128)
  assert blocks.fitting('words', 1024) == Blocks(64, 32)
  assert blocks.fitting('rows', 10_000) == Blocks(16, 128)


SEEING = [
  ('m-rnn', {}),
  ('m-rnn', {'tie_softmax': True}),
  ('mlbl-b', {}),
  ('mlbl-f', {}),
]


@pytest.mark.parametrize('variant', SEEING)
def test_words_of_images_of_each_model(variant):
  model, variables = make(variant)
  rng = np.random.default_rng(1)
  contexts, images = (
    jax.eval_shape(
      lambda v, x, method=method: model.apply(v, x, method=method),
      variables,
      x,
    ).shape[-1]
    for method, x in (
      ('language', np.zeros((1, 1), np.int32)),
      ('image', np.zeros((1, 7), np.float32)),
    )
  )
  language = rng.normal(size=(5, contexts)).astype(np.float32)
  vectors = rng.normal(size=(3, images)).astype(np.float32)
  rows, words = np.array([4, 0, 4]), np.array([10, 2, 3])

  @jax.jit
  def both(variables, language, vectors):
    fused = model.apply(
      variables, language, vectors, rows, words, method='fused_word_log_probs'
    )
    logits = jax.vmap(
      lambda image: model.apply(variables, language, image, method='readout')
    )(vectors)
    return fused, logits

  fused, logits = map(np.float64, both(variables, language, vectors))
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  np.testing.assert_allclose(
    fused, log_probs[:, rows, words], rtol=1e-5, atol=1e-5
  )


COST = [
  (('m-rnn', {}), {'multimodal_dropout': 0.5}),
  pytest.param(('elman', {}), {}, marks=pytest.mark.slow),
  (('lbl', {}), {}),
]


@pytest.mark.parametrize(('variant', 'options'), COST)
def test_the_cost_is_that_of_the_logits(variant, options):
  """With dropout, padding, two captions a row; its gradient by JAX's rules."""
  model, variables = make(variant, **options)
  tokens = np.array([[START, 4, START, 5, 6], [START, 7, 8, PAD, PAD]])
  targets = np.array([[4, END, 5, 6, END], [7, 8, END, PAD, PAD]])
  features = np.random.default_rng(2).normal(size=(2, 2, 7))
  batch = {
    'tokens': tokens,
    'targets': targets,
    'features': features.astype(np.float32),
  }
  rest = {k: v for k, v in variables.items() if k != 'params'}

  def cost(params, keys, fused):
    objective = Likelihood(fused)
    return objective(model, {'params': params, **rest}, batch, keys)

  def of_logits(params, keys):
    logits = model.apply(
      {'params': params, **rest}, tokens, batch['features'], keys
    )
    return -losses.log2_probabilities(logits, targets).sum()

  @jax.jit
  def all_three(params, keys):
    fused, plain = (
      jax.value_and_grad(cost, has_aux=True)(params, keys, fused)
      for fused in (True, False)
    )
    return fused, plain, jax.value_and_grad(of_logits)(params, keys)

  keys = jax.random.split(jax.random.key(3), 2)
  *found, (bits, gradient) = all_three(variables['params'], keys)
  for (value, sums), by_params in found:
    assert sums['words'] == 8
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      (value, sums['bits'], by_params),
      (bits, bits, gradient),
    )


def test_where_it_is_used(monkeypatch):
  cpu, gpu, tpu = map(Device, ('cpu', 'gpu', 'tpu'))
  is_used = fused_readout.is_used
  trial.works_on.cache_clear()
  monkeypatch.setattr(trial, 'misfit', lambda device: '')
  assert is_used('auto', gpu, True)
  assert not is_used('auto', gpu, False)
  assert not is_used('auto', cpu, True) and not is_used('auto', tpu, True)
  assert is_used('on', cpu, True) and is_used('on', gpu, True)
  assert not is_used('off', gpu, True)
  with pytest.raises(InputError, match='not one product'):
    is_used('on', gpu, False)
  with pytest.raises(InputError, match='made for GPUs, not for tpu'):
    is_used('on', tpu, True)


def test_what_ends_in_a_product():
  (first, _), (second, _) = make(('m-rnn', {})), make(('mlbl-b', {}))
  ngram, _ = make(('ngram', {}))
  assert first.ends_in_product and not ngram.ends_in_product

  def together(*parts, mean='arithmetic'):
    members = [models.Member(part) for part in parts]
    return models.Ensemble.make(members, mean).ends_in_product

  assert together(first, second)
  assert not together(first, second, mean='geometric')


def test_a_device_where_the_kernels_fail_gets_the_plain_form(
  monkeypatch, capsys
):
  cpu = jax.devices('cpu')[0]
  assert trial.misfit(cpu, FORM) == ''
  sound = kernels.gradients

  def other(*args):
    by_hidden, by_kernel, by_bias = sound(*args)
    return by_hidden, by_kernel.at[0, 0].add(jnp.nan), by_bias

  monkeypatch.setattr(kernels, 'gradients', other)
  jax.clear_caches()  # What was traced before is not traced again.
  assert 'other numbers' in trial.misfit(cpu, FORM)

  def fails(*args):
    raise RuntimeError('no such instruction\nand more')

  monkeypatch.setattr(kernels, 'normalize', fails)
  jax.clear_caches()
  monkeypatch.setattr(jax, 'device_put', lambda tree, device: tree)
  trial.works_on.cache_clear()
  assert not fused_readout.is_used('auto', Device('gpu'), True)
  told = capsys.readouterr().err
  assert 'left out on this Some GPU' in told
  assert 'RuntimeError: no such instruction)' in told

"""What every model of the registry must hold, whatever it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit as quick_jit
from small_models import (
  TRAINED,
  apply,
  initial_carry,
  make,
  trained_variants,
  variants,
)

from mrnn_jax import models
from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import contract

pytestmark = pytest.mark.usefixtures('quick_compiler')

V, D = 11, 7


def teacher_forced(model, variables, caption, feature):
  """Logits word by word, by the parts alone."""
  image = apply(model, variables, feature, method='image')
  carry = initial_carry(model, variables, 1)
  logits = []
  for token in caption:
    carry, language = apply(
      model, variables, carry, np.asarray([token]), method='language_step'
    )
    logit = apply(model, variables, language, image[None], method='readout')
    logits.append(logit[0])
  return np.stack(logits)


@variants
def test_language_is_a_scan_of_its_step(variant):
  model, variables = make(variant)
  # A second ##START## begins anew, within a row too.
  tokens = np.asarray([[START, 4, 9, 3, 6], [START, 7, START, 10, 7]])
  whole = apply(model, variables, tokens, method='language')
  carry = initial_carry(model, variables, 2)
  for t in range(tokens.shape[1]):
    carry, language = model.apply(
      variables, carry, tokens[:, t], method='language_step'
    )
    assert language.ndim == 2
    np.testing.assert_allclose(language, whole[:, t], rtol=1e-5, atol=1e-5)
  # It must remember: the same last word after others gives something else.
  assert not np.allclose(whole[1, 1], whole[1, 4], atol=1e-3)


@variants
def test_packed_captions_equal_the_parts_word_by_word(variant):
  model, variables = make(variant)
  rng = np.random.default_rng(1)
  captions = [[START, 4, 9, 3], [START, 5, 5], [START, 8]]
  features = rng.normal(size=(3, D)).astype(np.float32)
  packed = np.asarray([sum(captions, []) + [0, 0]])
  logits = apply(model, variables, packed, features[None])[0]
  assert logits.shape == (11, V)
  at = 0
  for caption, feature in zip(captions, features, strict=True):
    np.testing.assert_allclose(
      logits[at : at + len(caption)],
      teacher_forced(model, variables, caption, feature),
      rtol=1e-5,
      atol=1e-5,
    )
    at += len(caption)


@variants
def test_image_matters_where_it_is_seen_and_nowhere_else(variant):
  model, variables = make(variant)
  a, b = np.random.default_rng(2).normal(size=(2, D)).astype(np.float32)
  same = np.allclose(
    *(teacher_forced(model, variables, [START, 4], x) for x in (a, b)),
    atol=1e-3,
  )
  assert same != model.sees_images


@variants
def test_readout_broadcasts_over_images(variant):
  """Ranking gives it one image for many prefixes, decoding the same."""
  model, variables = make(variant)
  features = np.random.default_rng(3).normal(size=(4, D)).astype(np.float32)
  images = apply(model, variables, features, method='image')
  carry = initial_carry(model, variables, 3)
  _, language = apply(
    model, variables, carry, np.asarray([4, 5, 6]), method='language_step'
  )
  table = apply(
    model, variables, language[:, None], images[None], method='readout'
  )
  if model.sees_images:
    assert table.shape == (3, 4, V)
  for p in range(3):
    for n in range(4):
      one = apply(model, variables, language[p], images[n], method='readout')
      np.testing.assert_allclose(
        np.broadcast_to(table, (3, 4, V))[p, n], one, rtol=1e-5, atol=1e-5
      )


@trained_variants
def test_gradient_by_finite_differences(variant):
  """Each array in turn, moved in a direction drawn for it."""
  model, variables = make(variant)
  tokens = np.asarray([[START, 4, 9, START, 6]])
  rng = np.random.default_rng(0)
  features = rng.normal(size=(1, 2, D))

  def loss(params):
    logits = model.apply({**variables, 'params': params}, tokens, features)
    return jax.nn.logsumexp(logits, axis=-1).sum() - logits[..., 3].sum()

  with jax.enable_x64(True):
    params = jax.tree.map(np.float64, variables['params'])
    cost, gradient = quick_jit(loss), quick_jit(jax.grad(loss))(params)
    leaves, tree = jax.tree.flatten(params)
    for i, (path, leaf) in enumerate(
      jax.tree_util.tree_leaves_with_path(gradient)
    ):
      name = jax.tree_util.keystr(path)
      assert np.abs(leaf).max() > 0, f'{name} is not used'
      direction = rng.normal(size=leaf.shape)
      sides = []
      for shift in (1e-6, -1e-6):
        moved = [*leaves]
        moved[i] = leaves[i] + shift * direction
        sides.append(float(cost(jax.tree.unflatten(tree, moved))))
      np.testing.assert_allclose(
        (sides[0] - sides[1]) / 2e-6,
        (np.asarray(leaf) * direction).sum(),
        rtol=1e-3,
        atol=1e-6,
        err_msg=name,
      )


@trained_variants
def test_dropout_is_by_the_key_of_a_row(variant):
  rates = {
    k: 0.5 for k in models.options_of(variant[0]) if k.endswith('dropout')
  }
  model, variables = make(variant, **rates)
  tokens = np.asarray([[START, 4, 9], [START, 4, 9]])
  features = np.ones((2, 1, D), np.float32)
  keys = jax.random.split(jax.random.key(1), 2)
  both = apply(model, variables, tokens, features, keys)
  assert not np.allclose(both[0], both[1], atol=1e-3)
  second = apply(model, variables, tokens[1:], features[1:], keys[1:])
  np.testing.assert_allclose(both[1:], second, rtol=1e-5, atol=1e-5)


def test_bfloat16_rounds_operands_and_nothing_else():
  for variant in TRAINED:
    model, variables = make(variant)
    tokens = np.asarray([[START, 4, 9, 3]])
    features = np.random.default_rng(0).normal(size=(1, 1, D))
    exact = apply(model, variables, tokens, np.float32(features))
    rounding = model.clone(dtype='bfloat16')
    rounded = apply(rounding, variables, tokens, np.float32(features))
    assert rounded.dtype == jnp.float32
    difference = np.abs(exact - rounded).max()
    assert 1e-5 < difference < 0.1, variant
    carry = initial_carry(rounding, variables, 2)
    assert all(x.dtype != jnp.bfloat16 for x in jax.tree.leaves(carry))


def test_options_are_the_fields_of_the_classes():
  union = models.options()
  assert set(union) == set().union(*map(models.options_of, models.MODELS))
  assert 'feature_scaling' in models.options_of('m-rnn')
  assert 'feature_scaling' not in models.options_of('rnn-base')
  assert not {'vocab_size', 'feature_size', 'dtype'} & set(union)
  for field in union.values():
    assert field.metadata['help'].endswith('.')


def test_options_of_one_name_must_be_alike(monkeypatch):
  class Other(contract.Model):
    recurrent_size: int = contract.option(7, 'Something else.', low=1)

  monkeypatch.setitem(models.MODELS, 'other', Other)
  with pytest.raises(ValueError, match='other declares recurrent_size'):
    models.options()


def test_a_model_does_not_need_what_others_have():
  model = models.create_model('elman', V, D, {'cell': 'gru', 'l2': 3})
  assert {f.name for f in dataclasses.fields(model)} >= {'recurrent_size'}
  assert not hasattr(model, 'cell')

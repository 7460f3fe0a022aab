"""What every model of the registry must hold, whatever it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import (
  TRAINED,
  VARIANTS,
  apply,
  initial_carry,
  make,
  name_of,
  trained_variants,
)

from mrnn_jax import models
from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import contract

V, D, ROWS = 11, 7, 3


def language_by_steps(model, variables, captions):
  """What language gives word by word, [T, ROWS, ...]; shorter ones padded."""
  tokens = np.zeros((max(map(len, captions)), ROWS), np.int32)
  for row, caption in enumerate(captions):
    tokens[: len(caption), row] = caption
  carry = initial_carry(model, variables, ROWS)
  found = []
  for step in tokens:
    carry, language = apply(
      model, variables, carry, step, method='language_step'
    )
    found.append(language)
  return np.stack(found)


@pytest.fixture(scope='module', params=VARIANTS, ids=name_of)
def made(request):
  """A model, features of four images, and what these give."""
  model, variables = make(request.param)
  features = np.random.default_rng(1).normal(size=(4, D)).astype(np.float32)
  images = apply(model, variables, features, method='image')
  return model, variables, features, images


def test_language_is_a_scan_of_its_step(made):
  model, variables, *_ = made
  # A second ##START## begins anew, within a row too.
  rows = [[START, 4, 9, 3, 6], [START, 7, START, 10, 7], [START] * 5]
  whole = apply(model, variables, np.asarray(rows), method='language')
  steps = language_by_steps(model, variables, rows)
  assert steps.ndim == 3
  np.testing.assert_allclose(steps.swapaxes(0, 1), whole, rtol=1e-5, atol=1e-5)
  # It must remember: the same last word after others gives something else.
  assert not np.allclose(whole[1, 1], whole[1, 4], atol=1e-3)


def test_packed_captions_equal_the_parts_word_by_word(made):
  model, variables, features, images = made
  captions = [[START, 4, 9, 3], [START, 5, 5], [START, 8]]
  packed = np.asarray([sum(captions, []) + [0, 0]])
  logits = apply(model, variables, packed, features[None, :3])[0]
  assert logits.shape == (11, V)
  steps = language_by_steps(model, variables, captions)
  at = 0
  for row, caption in enumerate(captions):
    for t in range(len(caption)):
      # [ROWS, 4, V]: each row with each image.
      table = apply(
        model, variables, steps[t][:, None], images[None], method='readout'
      )
      one = np.broadcast_to(table, (ROWS, 4, V))[row, row]
      np.testing.assert_allclose(logits[at + t], one, rtol=1e-5, atol=1e-5)
    at += len(caption)


def test_readout_broadcasts_over_images(made):
  """Ranking gives it one image for many prefixes, decoding the same."""
  model, variables, _, images = made
  language = language_by_steps(model, variables, [[4], [5], [6]])[0]
  table = apply(
    model, variables, language[:, None], images[None], method='readout'
  )
  if model.sees_images:
    assert table.shape == (ROWS, 4, V)
  # Each pair on its own.
  one_by_one = apply(
    model,
    variables,
    np.repeat(language, 4, axis=0),
    np.tile(images, (ROWS, *(1,) * (images.ndim - 1))),
    method='readout',
  )
  table = np.broadcast_to(table, (ROWS, 4, V))
  np.testing.assert_allclose(
    table.reshape(-1, V), one_by_one, rtol=1e-5, atol=1e-5
  )
  # An image matters where it is seen, and nowhere else.
  same = np.allclose(table[:, 0], table[:, 1], atol=1e-3)
  assert same != model.sees_images


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
    both = jax.jit(jax.value_and_grad(loss))
    _, gradient = both(params)
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
        sides.append(float(both(jax.tree.unflatten(tree, moved))[0]))
      np.testing.assert_allclose(
        (sides[0] - sides[1]) / 2e-6,
        (np.asarray(leaf) * direction).sum(),
        rtol=1e-3,
        atol=1e-6,
        err_msg=name,
      )


# Where it stands is the model's, whatever its cell.
@pytest.mark.parametrize(
  'variant', [x for x in TRAINED if 'cell' not in x[1]], ids=name_of
)
def test_dropout_is_by_the_key_of_a_row(variant):
  rates = {
    k: 0.5 for k in models.options_of(variant[0]) if k.endswith('dropout')
  }
  model, variables = make(variant, **rates)
  tokens = np.asarray([[START, 4, 9], [START, 4, 9]])
  features = np.ones((2, 1, D), np.float32)
  keys = jax.random.split(jax.random.key(1), 3)
  both = apply(model, variables, tokens, features, keys[:2])
  assert not np.allclose(both[0], both[1], atol=1e-3)
  # Whatever its place, and whatever is beside it.
  other = apply(model, variables, tokens, features, keys[1:])
  np.testing.assert_allclose(both[1], other[0], rtol=1e-5, atol=1e-5)


def test_bfloat16_rounds_operands_and_nothing_else():
  for variant in TRAINED:
    model, variables = make(variant)
    tokens = np.asarray([[START, 4, 9, 3, START, 5, 5, START, 8, 0, 0]])
    features = np.random.default_rng(0).normal(size=(1, 3, D))
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

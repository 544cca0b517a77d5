"""HUB against NumPy, and what happens to proposals that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.rules.hub.weightings import (
  block_wise,
  clipping,
  gradient_softmax,
  inverted,
  vanilla,
  weighting,
)
from tests.problems import quadratic_loss, tree


def proposes(updates):
  """A transformation that proposes `updates` whatever it sees, and counts its steps."""
  return optax.GradientTransformation(
    lambda params: jnp.zeros((), jnp.int32), lambda grads, state, params=None: (updates, state + 1)
  )


def softmax(grad):
  e = np.exp(np.abs(np.asarray(grad, np.float64)))
  return e / e.sum()


WEIGHTS = {
  'vanilla': ('vanilla', lambda path, s: s),
  'inverted': ('inverted', lambda path, s: 1 - s),
  'clipping': ({'name': 'clipping', 'low': 0.1, 'high': 0.3}, lambda p, s: np.clip(s, 0.1, 0.3)),
  'block-wise': (
    {'name': 'block_wise', 'new': 'conv'},
    lambda path, s: s if path == 'conv' else 1 - s,
  ),
  'block-wise, the equations': (
    block_wise(lambda path: path == 'conv', 'vanilla', 'inverted'),
    lambda path, s: 1 - s if path == 'conv' else s,
  ),
}


@pytest.mark.parametrize('case', WEIGHTS)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_the_update_is_the_papers(case, dtype):
  spec, expected_weight = WEIGHTS[case]
  grads, params = tree(dtype), tree(dtype)
  first = jax.tree.map(lambda x: jnp.cos(3 * x), grads)
  second = jax.tree.map(lambda x: -0.5 + x, grads)
  tx = l2o.hub(proposes(first), proposes(second), spec)
  updates, state = tx.update(grads, tx.init(params), params, value=1.0)
  tolerance = {'rtol': 1e-5, 'atol': 1e-6} if dtype == jnp.float32 else {'rtol': 1e-2}
  for layer, path in enumerate(sorted(grads)):
    w = expected_weight(path, softmax(grads[path]))
    h, u = np.asarray(first[path], np.float64), np.asarray(second[path], np.float64)
    got = updates[path]
    assert got.dtype == dtype
    np.testing.assert_allclose(np.asarray(got, np.float64), w * h + (1 - w) * u, **tolerance)
    for name, statistic in (('mean', np.mean), ('min', np.min), ('max', np.max)):
      seen = getattr(state.weights, name)[layer]
      np.testing.assert_allclose(seen, statistic(w), rtol=1e-5, atol=1e-6)
    parts = np.linalg.norm(w * h), np.linalg.norm((1 - w) * u)
    np.testing.assert_allclose(state.weights.share[layer], parts[0] / sum(parts), rtol=1e-4)


def test_the_softmax_is_float32_and_does_not_overflow():
  grads = {
    'w': jnp.array([-1e4, 1e4, 3.0], jnp.bfloat16),
    'wide': jnp.full(70_000, 2, jnp.bfloat16),
  }
  weights = gradient_softmax(grads)
  np.testing.assert_array_equal(weights['w'], [0.5, 0.5, 0.0])
  assert weights['wide'].dtype == jnp.float32
  np.testing.assert_allclose(weights['wide'], 1 / 70_000, rtol=1e-5)


@pytest.mark.parametrize('lost', [np.nan, np.inf, -np.inf])
def test_a_layer_whose_gradient_is_lost_has_equal_weights(lost):
  weights = gradient_softmax({'lost': jnp.array([lost, 1.0, 5.0, 2.0]), 'zero': jnp.zeros(5)})
  np.testing.assert_allclose(weights['lost'], 0.25)
  np.testing.assert_allclose(weights['zero'], 0.2)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('weight', [0.0, 0.25, 1.0])
def test_a_proposal_that_is_not_finite_is_replaced_entry_by_entry_and_counted(bad, weight):
  # Both sides are lost in the last entry, one of them in the first and the second.
  first = {'w': jnp.array([bad, 2.0, 4.0, bad])}
  second = {'w': jnp.array([5.0, bad, 8.0, bad])}
  params = {'w': jnp.array([1.5, -0.7, 0.2, 1.0])}
  tx = l2o.hub(proposes(first), proposes(second), lambda grads: {'w': jnp.full(4, weight)})
  updates, state = tx.update(params, tx.init(params), params)
  mixed = weight * 4.0 + (1 - weight) * 8.0
  np.testing.assert_allclose(updates['w'], [5.0, 2.0, mixed, 0.0])
  assert (state.nonfinite_hand_designed, state.nonfinite_learned) == (1, 1)
  assert state.nonfinite_learned.dtype == jnp.int32


def test_only_the_side_that_is_lost_is_counted_once_a_step():
  params = {'a': jnp.ones(3), 'b': jnp.ones(())}
  lost = {'a': jnp.full(3, jnp.nan), 'b': jnp.float32(jnp.nan)}
  tx = l2o.hub(optax.sgd(0.5), proposes(lost), 'vanilla')
  state = tx.init(params)
  for _ in range(3):
    updates, state = tx.update(params, state, params)
  np.testing.assert_array_equal(updates['a'], -0.5 * params['a'])
  assert (state.nonfinite_hand_designed, state.nonfinite_learned) == (0, 3)
  np.testing.assert_array_equal(state.weights.mean, 1.0)  # the weights as they were used


def test_the_derivative_does_not_see_a_proposal_that_was_replaced():
  params = {'w': jnp.array([1.5, -0.7])}

  def step(scale):
    lost = optax.stateless(lambda g, p: jax.tree.map(lambda x: jnp.log(-scale * x * x), g))
    tx = l2o.hub(optax.sgd(0.1), lost, lambda grads: {'w': 0.5})
    return jnp.sum(tx.update(params, tx.init(params), params)[0]['w'] * scale)

  np.testing.assert_allclose(jax.grad(step)(2.0), -0.1 * 0.8, rtol=1e-5)


def test_both_states_advance_whatever_the_weights():
  params = tree()
  tx = l2o.hub(proposes(params), proposes(params), lambda grads: jax.tree.map(jnp.ones_like, grads))
  _, state = tx.update(params, tx.init(params), params)
  assert (state.hand_designed, state.learned) == (1, 1)


def test_keywords_reach_both_sides():
  seen = []

  def update(grads, state, params=None, **extra):
    seen.append(extra)
    return grads, state

  side = optax.GradientTransformationExtraArgs(lambda params: (), update)
  tx = l2o.hub(side, side)
  params = {'w': jnp.ones(2)}
  tx.update(params, tx.init(params), params, value=0.7, epoch=3)
  assert seen == [{'value': 0.7, 'epoch': 3}] * 2
  tx = l2o.hub(optax.sgd(0.1), side)  # plain optax takes no keywords; they are kept from it
  tx.update(params, tx.init(params), params, value=0.7)


def test_it_maps_over_seeds():
  params = {'w': jnp.array([[1.5, -0.7, 0.2], [0.1, 3.0, -1.0]])}
  tx = l2o.hub(optax.adam(0.1), optax.sgd(0.1), 'inverted')

  def step(params):
    return tx.update(params, tx.init(params), params)

  updates, state = jax.vmap(step)(params)
  one, _ = step(jax.tree.map(lambda x: x[1], params))
  np.testing.assert_allclose(updates['w'][1], one['w'], rtol=1e-6)
  assert state.weights.mean.shape == (2, 1)


def test_a_hub_of_two_learned_rules_descends():
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  rules = [l2o.rule('l3rs', directions=d) for d in (('sgd',), ('sgd', 'adam'))]
  tx = l2o.hub(*[r.bind(r.init(jax.random.key(i), params), 50) for i, r in enumerate(rules)])

  @jax.jit
  def step(params, state):
    value, grads = jax.value_and_grad(lambda p: quadratic_loss(p['w']))(params)
    updates, state = tx.update(grads, state, params, value=value)
    return optax.apply_updates(params, updates), state

  first, state = quadratic_loss(params['w']), tx.init(params)
  for _ in range(50):
    params, state = step(params, state)
  assert quadratic_loss(params['w']) < 0.5 * first
  assert state.hand_designed.step == state.learned.step == 50


def test_layers_of_no_entries_and_of_one():
  params = {'empty': jnp.zeros((0, 3)), 'scalar': jnp.float32(2.0)}
  tx = l2o.hub(optax.sgd(1.0), optax.sgd(3.0))
  updates, state = tx.update(params, tx.init(params), params)
  assert updates['scalar'] == -2.0  # softmax over one entry: all to the hand-designed side
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, state)))


def test_what_a_user_can_mend():
  with pytest.raises(l2o.InputError, match=r"no weighting 'invert'.*did you mean 'inverted'"):
    l2o.hub(optax.sgd(0.1), optax.sgd(0.1), 'invert')
  with pytest.raises(l2o.InputError, match='clipping needs low, high'):
    weighting('clipping')
  with pytest.raises(l2o.InputError, match='0 <= low <= high <= 1'):
    clipping(low=0.5, high=0.1)
  with pytest.raises(l2o.InputError, match=r"no new block 'haed' among head/bias, stem"):
    block_wise('haed')({'stem': jnp.ones(2), 'head': {'bias': jnp.ones(2)}})


def test_block_wise_finds_a_module_by_its_name_and_not_by_a_part_of_it():
  grads = {'head_norm': jnp.zeros(4), 'net': {'head': {'bias': jnp.zeros(4)}}}
  weights = block_wise(new_weighting=inverted(), pretrained_weighting=vanilla())(grads)
  assert weights['head_norm'][0] == 0.25
  assert weights['net']['head']['bias'][0] == 0.75

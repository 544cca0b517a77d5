"""Hand-designed optimizers as rules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.hand_designed import learning_rate_schedule


def updates_of(tx, steps=6):
  """Six updates on asymmetric gradients that change from step to step."""
  params = {'body': jnp.array([1.0, -2.0]), 'head': jnp.array([0.5])}
  state, seen = tx.init(params), []
  for k in range(steps):
    grads = jax.tree.map(lambda w, k=k: jnp.sin(w + k) + 0.2, params)
    updates, state = tx.update(grads, state, params, value=1.0, ignored=2)
    seen.append(updates)
  return jax.tree.map(lambda *x: np.stack(x), *seen)


@pytest.mark.parametrize(
  ('arguments', 'theirs'),
  [
    ({'optimizer': 'adam'}, optax.adam(0.03)),
    ({'optimizer': 'adam', 'b1': 0.5}, optax.adam(0.03, b1=0.5)),
    ({'optimizer': 'sgd'}, optax.sgd(0.03)),
    (
      {'optimizer': 'adam', 'schedule': 'cosine'},
      optax.adam(optax.cosine_decay_schedule(0.03, 10)),
    ),
  ],
)
def test_it_is_optax_own_with_that_learning_rate(arguments, theirs):
  rule = l2o.rule('hand_designed', **arguments)
  ours = rule.bind({'learning_rate': jnp.float32(0.03)}, jnp.int32(10))
  expected = updates_of(optax.with_extra_args_support(theirs))
  for name, got in updates_of(ours).items():
    np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-9)


def test_adam_against_numpy_over_20_steps(rng):
  rule = l2o.rule('hand_designed', optimizer='adam')
  tx = rule.bind({'learning_rate': jnp.float32(0.1)}, 20)
  w, m, v = np.array([1.0, -0.3]), np.zeros(2), np.zeros(2)
  params = jnp.asarray(w, jnp.float32)
  state = tx.init(params)
  for k in range(1, 21):
    g = rng.normal(0.5, 1.0, 2)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    w = w - 0.1 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    updates, state = tx.update(jnp.asarray(g, jnp.float32), state, params, value=0.0)
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params, w, rtol=1e-4)


def test_head_only_trains_the_head_as_before_and_nothing_else():
  free = l2o.rule('hand_designed', optimizer='adam')
  held = l2o.rule('hand_designed', optimizer='adam', trainable='head')
  theta = {'learning_rate': jnp.float32(0.01)}
  a, b = updates_of(free.bind(theta, 10)), updates_of(held.bind(theta, 10))
  np.testing.assert_array_equal(a['head'], b['head'])
  np.testing.assert_array_equal(b['body'], 0.0)
  assert np.all(a['body'] != 0.0)


def test_cosine_reaches_zero_at_the_horizon_and_stays():
  at = learning_rate_schedule('cosine', 2.0, jnp.int32(8))
  np.testing.assert_allclose([at(0), at(2), at(8), at(9)], [2.0, 1 + 2**-0.5, 0, 0], atol=1e-6)


def test_a_stack_of_learning_rates_is_a_grid():
  rule = l2o.rule('hand_designed', optimizer='sgd')
  rates = jnp.array([0.1, 0.01])

  def first(theta):
    tx = rule.bind(theta, 5)
    return tx.update(jnp.array([2.0]), tx.init(jnp.array([1.0])), value=0.0)[0]

  np.testing.assert_allclose(jax.vmap(first)({'learning_rate': rates}), [[-0.2], [-0.02]])


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    ({'optimizer': 'lionn'}, "no optimizer 'lionn'.*adam, sgd"),
    ({'optimizer': 'adam', 'schedule': 'linear'}, "no schedule 'linear'.*constant, cosine"),
    ({'optimizer': 'adam', 'trainable': 'tail'}, "'tail'.*all, head"),
    ({'optimizer': 'sgd', 'b1': 0.9}, "sgd has no 'b1'"),
  ],
)
def test_a_wrong_name_is_refused_with_the_choices(arguments, says):
  with pytest.raises(l2o.InputError, match=says):
    l2o.rule('hand_designed', **arguments)


def test_a_network_without_that_head_is_refused():
  rule = l2o.rule('hand_designed', optimizer='sgd', trainable='head', head='logits')
  with pytest.raises(l2o.InputError, match=r"no head 'logits'.*modules: body, head"):
    rule.bind({'learning_rate': 0.1}, 5).init({'body': jnp.ones(1), 'head': jnp.ones(1)})

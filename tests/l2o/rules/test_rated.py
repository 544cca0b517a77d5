"""Learned rules whose learning rate is part of theta."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.errors import InputError
from l2o.rules.rated import PROPORTIONAL, rated

PARAMS = {'kernel': jnp.array([[1.0, 2.0], [3.0, -5.0]]), 'bias': jnp.array([0.5, 0.1])}


def three_steps(rule, theta):
  """The parameters after steps on gradients that depend on them."""
  tx, params = rule.bind(theta, 4), PARAMS
  state = tx.init(params)
  for _ in range(3):
    updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
    params = jax.tree.map(jnp.add, params, updates)
  return params


@pytest.mark.parametrize('name', PROPORTIONAL)
def test_a_stack_of_rates_is_a_grid(name):
  spec = {'name': name, 'schedule': 'linear', 'weight_decay': 0.3}
  rule, rates = rated(spec), np.array([0.2, 0.003], np.float32)
  theta = rule.init(jax.random.key(3), PARAMS)
  each = jax.vmap(lambda rate: three_steps(rule, {**theta, 'learning_rate': rate}))(rates)
  for i, rate in enumerate(rates):
    alone = l2o.rule(**spec, learning_rate=float(rate))
    expected = three_steps(alone, alone.init(jax.random.key(3), PARAMS))
    for name_, x in expected.items():
      np.testing.assert_allclose(each[name_][i] - PARAMS[name_], x - PARAMS[name_], rtol=1e-4)


def test_updates_are_in_the_dtype_of_the_parameters():
  params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
  rule = rated({'name': 'celo2'})
  tx = rule.bind(rule.init(jax.random.key(0), params), 4)
  updates, _ = tx.update(params, tx.init(params), params)
  assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.bfloat16.dtype}


def test_a_rule_whose_rate_is_no_factor_is_refused():
  with pytest.raises(InputError, match='these rules alone: hand_designed, celo2, celo2_base'):
    rated({'name': 'l3rs'})

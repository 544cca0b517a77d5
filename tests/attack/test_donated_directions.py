"""Every direction that builds with its defaults runs in a loop that donates all it can."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.rules.l3rs.directions import directions

# They want more than a gradient, or arguments without a default.
UNUSABLE = {'dpsgd', 'lbfgs', 'schedule_free', 'sophia'}


def loss(params):
  return sum(jnp.sum((x - 0.3) ** 2) for x in jax.tree.leaves(params))


@pytest.mark.parametrize('name', sorted(set(directions()) - UNUSABLE))
@pytest.mark.filterwarnings('ignore:Specifying a key', 'ignore:.*deprecated')
def test_state_and_parameters_are_donated(name):
  params = {'w': jnp.array([[-1.0, 2.0]]), 'b': jnp.array([0.5])}
  rule = l2o.rule('l3rs', directions=(name,), gammas=(), betas=(), hidden=(), embedding_size=1)
  theta = rule.init(jax.random.key(0), params)
  tx = rule.bind(theta, 50)

  @partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state, params, value=value)
    return optax.apply_updates(params, updates), state

  state = tx.init(params)
  for _ in range(3):
    params, state = step(params, state)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((theta, params)))

"""What every rule and wrapper owes its callers, learned or not: one table, one test each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from tests.problems import quadratic_loss, tree

RULES = {
  'l3rs': {'name': 'l3rs'},
  'l3rs, one direction, no averages': {'name': 'l3rs', 'directions': ('sgd',), 'gammas': ()},
  'adam': {'name': 'hand_designed', 'optimizer': 'adam'},
  'adam cosine': {'name': 'hand_designed', 'optimizer': 'adam', 'schedule': 'cosine'},
  'sgd': {'name': 'hand_designed', 'optimizer': 'sgd'},
}


def learned(params):
  rule = l2o.rule('l3rs')
  return rule.bind(rule.init(jax.random.key(0), params), 50)


# Built around other transformations, so not rules: params -> transformation.
WRAPPERS = {
  'hub': lambda params: l2o.hub(optax.adam(0.1), learned(params)),
  'hub inverted': lambda params: l2o.hub(optax.adam(0.1), learned(params), 'inverted'),
  'hub of two l3rs': lambda params: l2o.hub(learned(params), learned(params), 'inverted'),
  'lgl2o': lambda params: l2o.lgl2o(optax.adam(0.1), learned(params)),
  'lgl2o, period 3': lambda params: l2o.lgl2o(optax.adam(0.1), learned(params), period=3),
}


def loss(params):
  squares = [jnp.sum((x.astype(jnp.float32) - 0.3) ** 2) for x in jax.tree.leaves(params)]
  return sum(squares, jnp.float32(0.0))


# What lgl2o needs beside the loss; keywords that the others do not know.
EXTRA = {'value_fn': loss, 'value_and_grad_fn': jax.value_and_grad(loss)}


@pytest.fixture(params=[*RULES, *WRAPPERS])
def bound(request):
  """params -> transformation for 50 steps."""

  def bind(params, learning_rate=None):
    if request.param in WRAPPERS:
      return WRAPPERS[request.param](params)
    rule = l2o.rule(**RULES[request.param])
    theta = rule.init(jax.random.key(0), params)
    if learning_rate is not None and set(theta) == {'learning_rate'}:
      theta = {'learning_rate': jnp.float32(learning_rate)}
    return rule.bind(theta, 50)

  return bind


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_updates_have_the_shapes_and_dtypes_of_the_parameters(bound, dtype):
  params = tree(dtype)
  tx = bound(params)
  updates, _ = tx.update(params, tx.init(params), params, value=1.0, unknown='ignored', **EXTRA)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), updates) == jax.tree.map(
    lambda x: (x.shape, x.dtype), params
  )


def test_the_state_is_arrays_of_shapes_known_without_arrays(bound):
  params = tree()
  tx = bound(params)
  abstract = jax.eval_shape(tx.init, params)
  state = tx.init(params)
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
  assert jax.tree.structure(abstract) == jax.tree.structure(state)
  after = tx.update(params, state, params, value=1.0, **EXTRA)[1]
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after)
  assert all(jax.tree.leaves(same))


@pytest.mark.parametrize('params', [{}, {'w': jnp.float32(2.0)}], ids=['empty', 'one scalar'])
def test_small_trees(bound, params):
  tx = bound(params)
  updates, _ = tx.update(params, tx.init(params), params, value=1.0, **EXTRA)
  assert jax.tree.structure(updates) == jax.tree.structure(params)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(updates))


def test_it_descends_in_one_program(bound):
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  tx = bound(params, learning_rate=0.1)

  def quadratic(params):
    return quadratic_loss(params['w'])

  value_and_grad = jax.value_and_grad(quadratic)

  @jax.jit
  def step(params, state):
    value, grads = value_and_grad(params)
    extra = {'value_fn': quadratic, 'value_and_grad_fn': value_and_grad}
    updates, state = tx.update(grads, state, params, value=value, **extra)
    return optax.apply_updates(params, updates), state

  first, state = quadratic_loss(params['w']), tx.init(params)
  for _ in range(50):
    params, state = step(params, state)
  assert quadratic_loss(params['w']) < 0.5 * first
  assert step._cache_size() == 1


@pytest.mark.parametrize('around', ['chain', 'apply_if_finite', 'MultiSteps'])
def test_it_runs_inside_optax_wrappers(bound, around):
  params = {'w': jnp.array([-1.0, 2.0, 0.5]), 'head': jnp.ones(2)}
  tx = bound(params)
  if around == 'chain':
    tx = optax.chain(optax.clip_by_global_norm(1.0), tx)
  elif around == 'apply_if_finite':
    tx = optax.apply_if_finite(tx, max_consecutive_errors=2)
  else:
    tx = optax.MultiSteps(tx, every_k_schedule=1).gradient_transformation()
  updates, state = tx.update(params, tx.init(params), params, value=jnp.float32(1.0), **EXTRA)
  assert all(np.all(np.isfinite(u)) and np.any(u != 0) for u in jax.tree.leaves(updates))
  if around == 'apply_if_finite':
    lost = jax.tree.map(lambda x: x * jnp.nan, params)
    updates, _ = tx.update(lost, state, params, value=jnp.float32(jnp.nan), **EXTRA)
    assert all(np.all(u == 0) for u in jax.tree.leaves(updates))


def test_its_state_may_be_donated(bound):
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  tx = bound(params)

  def step(params, state):
    updates, state = tx.update(params, state, params, value=1.0, **EXTRA)
    return optax.apply_updates(params, updates), state

  # Donating one buffer twice is an error.
  jax.jit(step, donate_argnums=(0, 1))(params, tx.init(params))

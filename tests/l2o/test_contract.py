"""What every rule owes its callers, learned or not: one table, one test each."""

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
  'velo': {'name': 'velo', 'lstm_width': 8, 'bank_size': 4},
  'celo': {'name': 'celo', 'lstm_width': 8, 'bank_size': 2},
}


def descending(theta):
  """theta of VeLO or Celo, which at random knows no direction, as Adam with a learning rate."""
  theta = jax.tree.map(jnp.zeros_like, theta)
  bank, rnn = theta['ff_mod_stack']['~'], theta['rnn_params']
  N = len(bank['b0'])
  rnn['rnn_to_controls']['b'] += 1.0
  is_celo = len(rnn['linear']['w']) == 18
  scale = N if is_celo else 0.01  # what the mean over the bank makes 1
  rnn['step_size']['b'] += jnp.log(300.0) if is_celo else 30.0
  # g / sqrt(v) and its negative, to pass the two relus.
  bank['w0__8'] = bank['w0__8'].at[:, 0, :2].set(scale * jnp.array([[1.0, -1.0]]))
  bank['w1'] = bank['w1'].at[:, [0, 1], [0, 1]].set(scale)
  bank['w2'] = bank['w2'].at[:, :2, 0].set(scale * jnp.array([[1.0, -1.0]]))
  return theta


@pytest.fixture(params=RULES)
def bound(request):
  """params -> (rule, theta, transformation for 50 steps)."""

  def bind(params):
    rule = l2o.rule(**RULES[request.param])
    theta = rule.init(jax.random.key(0), params)
    return rule, theta, rule.bind(theta, 50)

  return bind


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_updates_have_the_shapes_and_dtypes_of_the_parameters(bound, dtype):
  params = tree(dtype)
  _, _, tx = bound(params)
  updates, _ = tx.update(params, tx.init(params), params, value=1.0, unknown='ignored')
  assert jax.tree.map(lambda x: (x.shape, x.dtype), updates) == jax.tree.map(
    lambda x: (x.shape, x.dtype), params
  )


def test_the_state_is_arrays_of_shapes_known_without_arrays(bound):
  params = tree()
  _, _, tx = bound(params)
  abstract = jax.eval_shape(tx.init, params)
  state = tx.init(params)
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
  assert jax.tree.structure(abstract) == jax.tree.structure(state)
  after = tx.update(params, state, params, value=1.0)[1]
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after)
  assert all(jax.tree.leaves(same))


@pytest.mark.parametrize('params', [{}, {'w': jnp.float32(2.0)}], ids=['empty', 'one scalar'])
def test_small_trees(bound, params):
  _, _, tx = bound(params)
  updates, _ = tx.update(params, tx.init(params), params, value=1.0)
  assert jax.tree.structure(updates) == jax.tree.structure(params)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(updates))


def test_it_descends_in_one_program(bound):
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  rule, theta, tx = bound(params)
  if set(theta) == {'learning_rate'}:
    tx = rule.bind({'learning_rate': jnp.float32(0.1)}, 50)
  elif 'ff_mod_stack' in theta:
    tx = rule.bind(descending(theta), 50)

  @jax.jit
  def step(params, state):
    value, grads = jax.value_and_grad(lambda p: quadratic_loss(p['w']))(params)
    updates, state = tx.update(grads, state, params, value=value)
    return optax.apply_updates(params, updates), state

  first, state = quadratic_loss(params['w']), tx.init(params)
  for _ in range(50):
    params, state = step(params, state)
  assert quadratic_loss(params['w']) < 0.5 * first
  assert step._cache_size() == 1


@pytest.mark.parametrize('around', ['chain', 'apply_if_finite', 'MultiSteps'])
def test_it_runs_inside_optax_wrappers(bound, around):
  params = {'w': jnp.array([-1.0, 2.0, 0.5]), 'head': jnp.ones(2)}
  _, _, tx = bound(params)
  if around == 'chain':
    tx = optax.chain(optax.clip_by_global_norm(1.0), tx)
  elif around == 'apply_if_finite':
    tx = optax.apply_if_finite(tx, max_consecutive_errors=2)
  else:
    tx = optax.MultiSteps(tx, every_k_schedule=1).gradient_transformation()
  updates, state = tx.update(params, tx.init(params), params, value=jnp.float32(1.0))
  assert all(np.all(np.isfinite(u)) and np.any(u != 0) for u in jax.tree.leaves(updates))
  if around == 'apply_if_finite':
    lost = jax.tree.map(lambda x: x * jnp.nan, params)
    updates, _ = tx.update(lost, state, params, value=jnp.float32(jnp.nan))
    assert all(np.all(u == 0) for u in jax.tree.leaves(updates))

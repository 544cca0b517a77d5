"""L3RS against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.trees import layer_paths
from tests.problems import quadratic_loss, tree


def one_hot(theta, winner, log_lambda=-2.0):
  """theta that always answers mu = one-hot at `winner` and lambda = exp(log_lambda)."""
  output = theta['mlp']['dense_2']
  bias = jnp.full_like(output['bias'], -1e4).at[winner].set(1e4).at[-1].set(log_lambda)
  silent = {'kernel': jnp.zeros_like(output['kernel']), 'bias': bias}
  return theta | {'mlp': theta['mlp'] | {'dense_2': silent}}


@pytest.mark.parametrize('winner', [0, 1])
def test_with_mu_one_hot_it_is_the_unit_direction_times_lambda(winner):
  params = tree()
  rule = l2o.rule('l3rs', directions=('sgd', 'adam'))
  theta = one_hot(rule.init(jax.random.key(0), params), winner)
  tx, base = rule.bind(theta, 10), (optax.sgd(1.0), optax.adam(1.0))[winner]
  state, base_state = tx.init(params), base.init(params)
  for k in range(3):
    grads = jax.tree.map(lambda w, k=k: jnp.cos(w + k), params)
    updates, state = tx.update(grads, state, params, value=1.0)
    expected, base_state = base.update(grads, base_state, params)
    for name in params:
      unit = expected[name] / jnp.linalg.norm(jnp.ravel(expected[name]))
      np.testing.assert_allclose(updates[name], np.exp(-2.0) * unit, rtol=1e-4, atol=1e-7)


def numpy_l3rs(theta, gradients, weights, losses, num_steps):
  """The updates of one layer over some steps, from the paper's formulas, SGD and Adam."""
  theta = jax.tree.map(np.asarray, theta)
  gammas, a = np.array([0.0, 0.9, 0.99]), np.zeros((3, 3))
  m = v = 0.0
  steps = []
  for k, (g, w, loss) in enumerate(zip(gradients, weights, losses, strict=True), start=1):
    x = np.array([np.log(np.linalg.norm(w) + 1e-8), np.log(np.linalg.norm(g) + 1e-8), loss])
    a = gammas * a + (1 - gammas) * x[:, None]
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    d = [-g, -(m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)]
    norms = np.array([np.linalg.norm(p) for p in d])
    h = np.concatenate([
      (a / (1 - gammas**k)).ravel(),
      np.tanh(10 * (k / num_steps - np.arange(11) / 10)),
      np.tanh(np.log(num_steps * np.array([1e-4, 1e-3, 1e-2, 1e-1]))),
      theta['embedding']['w'],
      np.log(norms + 1e-8),
    ])  # fmt: skip
    for i in range(3):
      h = h @ theta['mlp'][f'dense_{i}']['kernel'] + theta['mlp'][f'dense_{i}']['bias']
      h = np.maximum(h, 0) if i < 2 else h
    mu = np.exp(h[:2]) / np.exp(h[:2]).sum()
    steps.append(np.exp(h[2]) * sum(mu[p] * d[p] / norms[p] for p in range(2)))
  return steps


def test_several_steps_against_numpy(rng):
  shape, num_steps = (3, 4), 7
  gradients = rng.normal(0.3, 1.0, (5, *shape)).astype(np.float32)
  weights = rng.normal(-0.5, 2.0, (5, *shape)).astype(np.float32)
  losses = rng.uniform(0.5, 3.0, 5).astype(np.float32)
  rule = l2o.rule('l3rs')
  theta = rule.init(jax.random.key(4), {'w': weights[0]})
  theta['mlp']['dense_2']['kernel'] *= 20.0  # an output that depends on every feature
  tx = rule.bind(theta, num_steps)
  state = tx.init({'w': weights[0]})
  expected = numpy_l3rs(theta, gradients, weights, losses, num_steps)
  for k in range(5):
    updates, state = tx.update(
      {'w': gradients[k]}, state, {'w': weights[k]}, value=losses[k], ignored=None
    )
    np.testing.assert_allclose(updates['w'], expected[k], rtol=2e-4, atol=1e-6)
  assert int(state.step) == 5


def test_lambda_bounds_the_step_and_mu_is_convex():
  params = tree()
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  updates, state = tx.update(params, tx.init(params), params, value=2.0)
  np.testing.assert_allclose(state.mu.sum(axis=1), 1.0, rtol=1e-6)
  norms = jnp.stack([jnp.linalg.norm(jnp.ravel(u)) for u in jax.tree.leaves(updates)])
  assert np.all(norms <= state.step_norm * (1 + 1e-6))
  assert np.all(norms > 0)


def test_a_zero_gradient_moves_nothing_and_is_no_nan():
  params = tree()
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, state = tx.update(zeros, tx.init(params), params, value=0.0)
  for leaf in jax.tree.leaves(updates):
    np.testing.assert_array_equal(leaf, 0.0)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_one_frozen_layer_does_not_disturb_the_others():
  params = {'a': jnp.ones(3), 'b': jnp.ones(2)}
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  grads = {'a': jnp.zeros(3), 'b': jnp.array([1.0, -2.0])}
  updates, _ = tx.update(grads, tx.init(params), params, value=1.0)
  np.testing.assert_array_equal(updates['a'], 0.0)
  assert np.linalg.norm(updates['b']) > 0


def test_a_nan_gradient_stays_in_its_layer_and_shows():
  params = {'a': jnp.ones(3), 'b': jnp.ones(2)}
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  grads = {'a': jnp.array([1.0, jnp.nan, 0.0]), 'b': jnp.array([1.0, -2.0])}
  updates, _ = tx.update(grads, tx.init(params), params, value=1.0)
  assert np.all(np.isnan(updates['a']))
  assert np.all(np.isfinite(updates['b']))


def test_an_empty_tree_passes_through():
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), {'w': jnp.ones(2)}), 10)
  updates, state = tx.update({}, tx.init({}), {}, value=1.0)
  assert updates == {}
  assert int(state.step) == 1


def test_bfloat16_parameters_keep_their_dtype_and_the_state_its_own():
  params = tree(jnp.bfloat16)
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  before = tx.init(params)
  updates, after = tx.update(params, before, params, value=jnp.bfloat16(1.0))
  assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
  assert jax.tree.map(lambda x: x.dtype, before) == jax.tree.map(lambda x: x.dtype, after)


def test_state_has_two_parameters_worth_and_no_more_than_scalars_per_layer():
  params = {'w': jnp.ones((50, 40)), 'b': jnp.ones(40)}
  rule = l2o.rule('l3rs')
  theta = rule.init(jax.random.key(0), params)
  state = jax.eval_shape(rule.bind(theta, 10).init, params)
  size = sum(x.size for x in jax.tree.leaves(state))
  per_layer = 9 + 2 + 1  # averages, mu, lambda
  assert size == 2 * (50 * 40 + 40) + 2 * per_layer + 2  # two counters: its own and Adam's


def test_embeddings_are_found_by_path_under_partition():
  params = {'body': jnp.ones((2, 3)), 'head': jnp.array([1.0, -2.0])}
  rule = l2o.rule('l3rs')
  theta = rule.init(jax.random.key(0), params)
  whole, alone = rule.bind(theta, 10), rule.bind(theta, 10)
  part = optax.partition(
    {'learned': alone, 'frozen': optax.set_to_zero()}, {'body': 'frozen', 'head': 'learned'}
  )
  grads = {'body': jnp.ones((2, 3)), 'head': jnp.array([0.5, 3.0])}
  expected, _ = whole.update(grads, whole.init(params), params, value=1.0)
  updates, _ = part.update(grads, part.init(params), params, value=1.0)
  np.testing.assert_allclose(updates['head'], expected['head'], rtol=1e-6)
  np.testing.assert_array_equal(updates['body'], 0.0)


def test_a_layer_without_an_embedding_is_named():
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), {'old': jnp.ones(2)}), 10)
  with pytest.raises(l2o.InputError, match='layer new: it knows old'):
    tx.init({'new': jnp.ones(2)})


def test_it_maps_over_theta_and_takes_a_traced_horizon():
  params = tree()
  rule = l2o.rule('l3rs')
  thetas = jax.vmap(rule.init, (0, None))(jax.random.split(jax.random.key(0), 3), params)

  def first_update(theta, num_steps):
    tx = rule.bind(theta, num_steps)
    return tx.update(params, tx.init(params), params, value=1.0)[0]

  together = jax.jit(jax.vmap(first_update, (0, None)))(thetas, jnp.int32(9))
  for i in range(3):
    alone = first_update(jax.tree.map(lambda x, i=i: x[i], thetas), 9)
    for name in layer_paths(params):
      np.testing.assert_allclose(together[name][i], alone[name], rtol=1e-5, atol=1e-7)


def test_it_descends_and_runs_in_a_chain():
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  rule = l2o.rule('l3rs')
  tx = optax.chain(
    optax.clip_by_global_norm(1.0), rule.bind(rule.init(jax.random.key(0), params), 60)
  )
  state = tx.init(params)

  @jax.jit
  def step(params, state):
    value, grads = jax.value_and_grad(lambda p: quadratic_loss(p['w']))(params)
    updates, state = tx.update(grads, state, params, value=value)
    return optax.apply_updates(params, updates), state

  first = quadratic_loss(params['w'])
  for _ in range(60):
    params, state = step(params, state)
  assert quadratic_loss(params['w']) < 0.3 * first
  assert step._cache_size() == 1


def test_the_same_base_optimizer_twice_has_its_own_hyper_parameters():
  rule = l2o.rule('l3rs', directions=('adam', {'name': 'adam', 'b1': 0.5}))
  theta = rule.init(jax.random.key(0), {'w': jnp.ones(2)})
  assert set(theta['directions']) == {'adam_0', 'adam_1'}


def test_learned_hyper_parameters_reach_the_base_optimizer():
  """With mu on Adam, theta's offsets of the betas give Adam with these betas."""
  params = {'w': jnp.array([1.0, -2.0, 0.5])}
  rule = l2o.rule('l3rs')
  theta = one_hot(rule.init(jax.random.key(0), params), 1)
  theta['directions'] = {'sgd': {}, 'adam': {'b1': jnp.float32(-2.0), 'b2': jnp.float32(-4.0)}}
  b1, b2 = (1 / (1 + np.exp(-(np.log(b / (1 - b)) + x))) for b, x in ((0.9, -2.0), (0.999, -4.0)))
  tx, adam = rule.bind(theta, 10), optax.adam(1.0, b1=b1, b2=b2)
  state, adam_state = tx.init(params), adam.init(params)
  for k in range(4):
    grads = {'w': jnp.array([np.cos(k), 1.0 - k, 0.3])}
    updates, state = tx.update(grads, state, params, value=1.0)
    expected, adam_state = adam.update(grads, adam_state, params)
  unit = expected['w'] / np.linalg.norm(expected['w'])
  np.testing.assert_allclose(updates['w'], np.exp(-2.0) * unit, rtol=1e-3)


def test_updates_have_the_dtype_of_the_parameters_not_of_the_gradients():
  params = {'w': jnp.ones(3)}
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  grads = {'w': jnp.ones(3, jnp.bfloat16)}
  assert tx.update(grads, tx.init(params), params, value=1.0)[0]['w'].dtype == jnp.float32


def test_facts_name_the_directions():
  params = {'w': jnp.ones(3), 'b': jnp.ones(2)}
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  _, state = tx.update(params, tx.init(params), params, value=1.0)
  diagnostics = rule.diagnostics(state)
  assert set(diagnostics) == {'lambda', 'mu/sgd', 'mu/adam'}
  np.testing.assert_allclose(diagnostics['mu/sgd'] + diagnostics['mu/adam'], 1.0, rtol=1e-6)
  assert l2o.rule('hand_designed', optimizer='sgd').diagnostics(state) == {}


def test_two_layers_of_one_path_are_refused():
  params = {'a/b': jnp.ones(2), 'a': {'b': jnp.ones(2)}}
  with pytest.raises(l2o.InputError, match='two layers have the same path'):
    l2o.rule('l3rs').init(jax.random.key(0), params)


def test_no_direction_is_refused():
  with pytest.raises(l2o.InputError, match='at least one direction'):
    l2o.rule('l3rs', directions=())

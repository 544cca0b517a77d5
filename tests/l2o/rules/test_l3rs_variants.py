"""L3RS: how layers are told apart, and what it mixes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from tests.problems import quadratic_loss, tree

IDENTITIES = ('embedding', 'none', 'per_layer_mlp', 'global')


@pytest.mark.parametrize('identity', IDENTITIES)
def test_every_identity_has_the_theta_it_needs_and_no_more(identity):
  params = {'a': jnp.ones((2, 3)), 'b': jnp.ones(4)}
  theta = l2o.rule('l3rs', identity=identity).init(jax.random.key(0), params)
  assert ('embedding' in theta) == (identity == 'embedding')
  assert set(theta['mlp']) == (
    {'a', 'b'} if identity == 'per_layer_mlp' else {'dense_0', 'dense_1', 'dense_2'}
  )


def differing(theta, seed=1):
  """theta with noise, so that layers and features matter."""
  leaves, structure = jax.tree.flatten(theta)
  rng = np.random.default_rng(seed)
  moved = [x + jnp.asarray(rng.normal(0.0, 0.5, x.shape), x.dtype) for x in leaves]
  return jax.tree.unflatten(structure, moved)


def test_an_mlp_for_each_layer_is_the_shared_one_without_embedding_on_that_layer_alone():
  params = {'a': jnp.array([[1.0, -2.0]]), 'b': jnp.array([0.5, 3.0, 0.1])}
  grads = jax.tree.map(lambda w: jnp.sin(w) + 0.3, params)
  rule, shared = l2o.rule('l3rs', identity='per_layer_mlp'), l2o.rule('l3rs', identity='none')
  theta = differing(rule.init(jax.random.key(0), params))
  tx = rule.bind(theta, 10)
  updates, _ = tx.update(grads, tx.init(params), params, value=1.0)
  for path in params:
    alone = shared.bind({**theta, 'mlp': theta['mlp'][path]}, 10)
    part, grad = {path: params[path]}, {path: grads[path]}
    expected, _ = alone.update(grad, alone.init(part), part, value=1.0)
    np.testing.assert_allclose(updates[path], expected[path], rtol=1e-5)


def test_global_has_one_mixture_over_the_whole_tree():
  """Two layers are stepped as one: the joined vector would be, but for the averaged features."""
  params = {'a': jnp.array([1.0, -2.0]), 'b': jnp.array([3.0])}
  rule = l2o.rule('l3rs', identity='global')
  theta = differing(rule.init(jax.random.key(0), params))
  tx, state, adam = rule.bind(theta, 10), None, optax.adam(1.0)
  state, adam_state = tx.init(params), adam.init(params)
  for k in range(3):
    grads = jax.tree.map(lambda w, k=k: jnp.cos(w + k) + 0.2, params)
    updates, state = tx.update(grads, state, params, value=1.0)
    direction, adam_state = adam.update(grads, adam_state, params)
    np.testing.assert_array_equal(state.mu[0], state.mu[1])
    np.testing.assert_array_equal(state.step_norm[0], state.step_norm[1])
    expected = sum(
      mu * d / jnp.linalg.norm(d)
      for mu, d in zip(
        state.mu[0],
        (-jnp.concatenate([grads['a'], grads['b']]), jnp.concatenate([*direction.values()])),
        strict=True,
      )
    )
    got = jnp.concatenate([updates['a'], updates['b']])
    np.testing.assert_allclose(got, state.step_norm[0] * expected, rtol=1e-4)


def test_global_averages_its_statistics_over_layers():
  """A tree and the same one with its layers' scales exchanged look alike."""
  rule = l2o.rule('l3rs', identity='global', directions=('sgd',))
  a, b = jnp.array([1.0, -2.0]), jnp.array([0.25, 0.5])
  theta = differing(rule.init(jax.random.key(0), {'a': a, 'b': b}))

  def mixture(params):
    tx = rule.bind(theta, 10)
    return float(tx.update(params, tx.init(params), params, value=1.0)[1].step_norm[0])

  assert mixture({'a': a, 'b': b}) == pytest.approx(mixture({'a': b, 'b': a}), rel=1e-6)
  assert mixture({'a': a, 'b': b}) != pytest.approx(mixture({'a': a, 'b': 3 * b}), rel=1e-6)


@pytest.mark.parametrize('identity', ['none', 'global'])
def test_without_anything_for_a_layer_theta_fits_another_tree(identity):
  rule = l2o.rule('l3rs', identity=identity)
  theta = rule.init(jax.random.key(0), {'old': jnp.ones(2)})
  params = {'new': jnp.ones(3)}
  assert rule.retarget(theta, params) is theta
  tx = rule.bind(theta, 5)
  updates, _ = tx.update(params, tx.init(params), params, value=1.0)
  assert np.all(updates['new'] != 0)


@pytest.mark.parametrize('identity', ['embedding', 'per_layer_mlp'])
def test_theta_for_other_layers_is_refused_naming_both_sides(identity):
  rule = l2o.rule('l3rs', identity=identity)
  theta = rule.init(jax.random.key(0), {'body': jnp.ones(2), 'head': jnp.ones(1)})
  params = {'body': jnp.ones(2), 'logits': jnp.ones(1)}
  with pytest.raises(l2o.InputError, match='it lacks logits and has head in addition'):
    rule.retarget(theta, params)
  if identity == 'per_layer_mlp':
    with pytest.raises(l2o.InputError, match='lacks logits'):
      rule.retarget(theta, params, on_mismatch='mean_embedding')


def test_unknown_layers_get_the_mean_embedding():
  rule = l2o.rule('l3rs')
  theta = rule.init(jax.random.key(0), {'body': jnp.ones(2), 'head': jnp.ones(1)})
  old = theta['embedding']
  new = rule.retarget(
    theta, {'body': jnp.ones(2), 'tail': jnp.ones(1)}, on_mismatch='mean_embedding'
  )
  assert set(new['embedding']) == {'body', 'tail'}
  np.testing.assert_array_equal(new['embedding']['body'], old['body'])
  mean = 0.5 * (old['body'] + old['head'])
  np.testing.assert_allclose(new['embedding']['tail'], mean, rtol=1e-6)


@pytest.mark.parametrize(
  'directions',
  [
    ('sgd',),
    ('adam', 'lion', 'lamb'),
    ('adamax', 'sgd', 'lamb'),
    ('sgd', 'adam', 'adamax', 'lion', 'lamb', 'weight_decay'),
    ({'name': 'muon', 'learnable': ('beta',)}, 'adafactor'),
  ],
)
def test_every_base_set_descends(directions):
  rule = l2o.rule('l3rs', directions=directions)
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  tx = rule.bind(rule.init(jax.random.key(0), params), 60)

  @jax.jit
  def step(carry, _):
    params, state = carry
    value, grads = jax.value_and_grad(lambda p: quadratic_loss(p['w']))(params)
    updates, state = tx.update(grads, state, params, value=value)
    return (optax.apply_updates(params, updates), state), value

  _, values = jax.lax.scan(step, (params, tx.init(params)), length=60)
  assert values[-1] < 0.5 * values[0]


def test_lambs_direction_is_adams():
  """The trust ratio is a factor of the layer's norm, which L3RS sets itself."""
  params = tree()
  made = {}
  for name in ('adamw', 'lamb'):
    rule = l2o.rule('l3rs', directions=({'name': name, 'weight_decay': 0.0, 'learnable': ()},))
    theta = rule.init(jax.random.key(0), params)
    silent = jax.tree.map(lambda x: jnp.zeros_like(x), theta['mlp'])
    tx = rule.bind({**theta, 'mlp': silent}, 10)
    made[name], _ = tx.update(params, tx.init(params), params, value=1.0)
  for path in params:
    np.testing.assert_allclose(made['lamb'][path], made['adamw'][path], atol=2e-4)

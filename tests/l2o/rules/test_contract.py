"""What every rule owes its callers, learned or not: one table, one test each."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from checkpoints import Checkpoints
from tests.problems import quadratic_loss, tree


def hand_designed(optimizer, learning_rate, **arguments):
  spec = {'name': 'hand_designed', 'optimizer': optimizer, **arguments}
  return spec, {'learning_rate': learning_rate}


def pair(name, **arguments):
  """Around Adam and L3RS."""
  adam = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.1}
  return {'name': name, 'hand_designed': adam, 'learned': {'name': 'l3rs'}, **arguments}, {}


def loss(params):
  squares = [jnp.sum((x.astype(jnp.float32) - 0.3) ** 2) for x in jax.tree.leaves(params)]
  return sum(squares, jnp.float32(0.0))


def small_tree():
  """The least and the greatest rank: programs grow with the number of shapes."""
  return {name: x for name, x in tree().items() if name in ('scalar', 'conv')}


SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.1}
# What a loop passes beside the loss; keywords that most rules do not know.
EXTRA = {'value_fn': loss, 'value_and_grad_fn': jax.value_and_grad(loss)}

# name -> the rule, and what the test that descends sets in its theta
RULES = {
  'l3rs': ({'name': 'l3rs'}, {}),
  'l3rs, one direction, no averages': (
    {'name': 'l3rs', 'directions': ('sgd',), 'gammas': ()},
    {},
  ),
  'l3rs, no identity': ({'name': 'l3rs', 'identity': 'none'}, {}),
  'l3rs, an MLP for each layer': ({'name': 'l3rs', 'identity': 'per_layer_mlp'}, {}),
  'l3rs, global': ({'name': 'l3rs', 'identity': 'global'}, {}),
  'l3rs, optimizers of optax': (
    {'name': 'l3rs', 'directions': ('momentum', 'lion', 'lamb', 'muon', 'weight_decay')},
    {},
  ),
  'velo': ({'name': 'velo', 'lstm_width': 8, 'bank_size': 4, 'initial_step': 0.03}, {}),
  'celo': ({'name': 'celo', 'lstm_width': 8, 'bank_size': 2, 'initial_step': 0.03}, {}),
  'mlp_lopt': ({'name': 'mlp_lopt', 'hidden_size': 6, 'initial_step': 0.1}, {}),
  'adafac_mlp_lopt': ({'name': 'adafac_mlp_lopt', 'initial_step': 0.1}, {}),
  'celo2': ({'name': 'celo2', 'learning_rate': 0.01}, {}),
  'celo2_base': ({'name': 'celo2_base', 'learning_rate': 0.1, 'descends': True}, {}),
  'hub': pair('hub'),
  'lgl2o': pair('lgl2o'),
  'lgl2o, period 3': pair('lgl2o', period=3),
  'lgl2o of a hub': (
    {'name': 'lgl2o', 'hand_designed': SGD, 'learned': pair('hub')[0]},
    {},
  ),
  'adafactor': hand_designed('adafactor', 0.1),
  'adam': hand_designed('adam', 0.1),
  'adam cosine': hand_designed('adam', 0.1, schedule='cosine'),
  'adamax': hand_designed('adamax', 0.1),
  'adamw': hand_designed('adamw', 0.1),
  'ademamix': hand_designed('ademamix', 0.1),
  'lamb': hand_designed('lamb', 0.1),
  'lion': hand_designed('lion', 0.1),
  'momentum': hand_designed('momentum', 0.03),
  'muon': hand_designed('muon', 0.1),
  'nadamw': hand_designed('nadamw', 0.1),
  'prodigy': hand_designed('prodigy', 1.0),
  'prodigy cosine': hand_designed('prodigy', 4.0, schedule='cosine'),
  'schedule-free adamw': hand_designed('schedule_free_adamw', 0.3),
  'sgd': hand_designed('sgd', 0.1),
}

# All of whose code other rows run too: `slow` in the tests that compile most.
ALIKE = {
  'l3rs, one direction, no averages', 'l3rs, no identity', 'celo', 'celo2_base', 'lgl2o',
  'adam cosine', 'adamax', 'adamw', 'ademamix', 'lamb', 'lion', 'momentum', 'nadamw', 'prodigy',
  'sgd',
}  # fmt: skip
ROWS = [pytest.param(x, marks=pytest.mark.slow) if x in ALIKE else x for x in RULES]
on_each_path = pytest.mark.parametrize('row', ROWS, indirect=True)

# Rules that want a head.
HEADS = {
  'head_only': ({'name': 'head_only', 'rule': {'name': 'l3rs'}}, {}),
  'adam, head': hand_designed('adam', 0.1, trainable='head'),
}


def donating_step(tx):
  """The plainest loop there is; EXTRA serves the rules that ask for it."""

  @partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state, params, value=value, **EXTRA)
    return optax.apply_updates(params, updates), state

  return step


@pytest.fixture(params=RULES)
def row(request):
  """(rule, what the descending test sets of theta)."""
  spec, settings = RULES[request.param]
  return l2o.rule(**spec), {name: jnp.float32(value) for name, value in settings.items()}


@pytest.fixture
def bound(row):
  """params -> (rule, theta, transformation for 50 steps)."""

  def bind(params):
    rule = row[0]
    theta = rule.init(jax.random.key(0), params)
    return rule, theta, rule.bind(theta, 50)

  return bind


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_updates_and_what_is_evaluated_have_the_shapes_and_dtypes_of_the_parameters(bound, dtype):
  params = tree(dtype)
  rule, _, tx = bound(params)
  expected = jax.tree.map(lambda x: (x.shape, x.dtype), params)

  def update(params):
    before = tx.init(params)
    updates, after = tx.update(params, before, params, value=1.0, unknown='ignored', **EXTRA)
    return updates, rule.eval_params(before, params), rule.eval_params(after, params)

  for each in jax.eval_shape(update, params):
    assert jax.tree.map(lambda x: (x.shape, x.dtype), each) == expected


def test_the_state_is_arrays_of_shapes_known_without_arrays(bound):
  params = tree()
  _, _, tx = bound(params)
  abstract = jax.eval_shape(tx.init, params)
  state = tx.init(params)
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
  assert jax.tree.structure(abstract) == jax.tree.structure(state)
  _, after = jax.eval_shape(lambda p, s: tx.update(p, s, p, value=1.0, **EXTRA), params, state)
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after)
  assert all(jax.tree.leaves(same))


@pytest.mark.parametrize('params', [{}, {'w': jnp.float32(2.0)}], ids=['empty', 'one scalar'])
def test_small_trees(bound, params):
  _, _, tx = bound(params)
  updates, _ = tx.update(params, tx.init(params), params, value=1.0, **EXTRA)
  assert jax.tree.structure(updates) == jax.tree.structure(params)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(updates))


def test_it_descends_in_one_program(row):
  params = {'w': jnp.array([-1.0, 2.0, 0.5])}
  rule, settings = row
  tx = rule.bind(rule.init(jax.random.key(0), params) | settings, 50)

  def loss(params):
    return quadratic_loss(params['w'])

  @jax.jit
  def step(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    extra = {'value_fn': loss, 'value_and_grad_fn': jax.value_and_grad(loss)}
    updates, state = tx.update(grads, state, params, value=value, **extra)
    return optax.apply_updates(params, updates), state

  first, state = quadratic_loss(params['w']), tx.init(params)
  for _ in range(50):
    params, state = step(params, state)
  assert quadratic_loss(rule.eval_params(state, params)['w']) < 0.5 * first
  assert step._cache_size() == 1


@pytest.mark.parametrize('name', [*RULES, *HEADS])
def test_the_plainest_loop_donates_parameters_and_state(name):
  """One tensor: there what is made for each tensor may be theta itself."""
  rule = l2o.rule(**(RULES | HEADS)[name][0])
  params = {'head': jnp.array([[-1.0, 2.0, 0.5]])}
  theta = rule.init(jax.random.key(0), params)
  tx = rule.bind(theta, 50)
  step = donating_step(tx)
  start, state = jax.tree.map(jnp.copy, params), tx.init(params)
  for _ in range(3):
    params, state = step(params, state)
  assert not np.array_equal(rule.eval_params(state, params)['head'], start['head'])
  for x in jax.tree.leaves(theta):
    assert np.all(np.isfinite(x))  # there, and not donated
  step(start, tx.init(start))


@on_each_path
def test_it_runs_inside_optax_wrappers(bound):
  """One around the other; a gradient that is not finite gets past all of them to none."""
  params = {'w': jnp.array([-1.0, 2.0, 0.5]), 'head': jnp.ones(2)}
  _, _, tx = bound(params)
  tx = optax.chain(optax.clip_by_global_norm(1.0), tx)
  tx = optax.apply_if_finite(tx, max_consecutive_errors=2)
  tx = optax.MultiSteps(tx, every_k_schedule=1).gradient_transformation()
  update = jax.jit(partial(tx.update, **EXTRA))
  updates, state = update(params, tx.init(params), params, value=jnp.float32(1.0))
  assert all(np.all(np.isfinite(u)) and np.any(u != 0) for u in jax.tree.leaves(updates))
  lost = jax.tree.map(lambda x: x * jnp.nan, params)
  updates, _ = update(lost, state, params, value=jnp.float32(jnp.nan))
  assert all(np.all(u == 0) for u in jax.tree.leaves(updates))


@on_each_path
def test_a_stack_of_thetas_steps_as_each_alone(bound):
  params = small_tree()
  rule, theta, _ = bound(params)
  rng = np.random.default_rng(2)
  thetas = [
    jax.tree.map(lambda x: x * jnp.float32(1 + 0.1 * rng.normal()), theta) for _ in range(3)
  ]

  def two_updates(theta, num_steps):
    tx = rule.bind(theta, num_steps)

    def step(k, carry):
      grads = jax.tree.map(lambda p: jnp.cos(p * k), params)
      return tx.update(grads, carry[1], params, value=1.0 - 0.5 * k, **EXTRA)

    start = jax.tree.map(jnp.zeros_like, params), tx.init(params)
    return jax.lax.fori_loop(0, 2, step, start)[0]

  single = jax.jit(two_updates)
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *thetas)
  together = jax.jit(jax.vmap(two_updates, (0, None)))(stacked, jnp.int32(20))
  for i, theta in enumerate(thetas):
    alone = single(theta, jnp.int32(20))
    for name in params:
      np.testing.assert_allclose(together[name][i], alone[name], rtol=2e-4, atol=1e-6)


@on_each_path
def test_it_trains_its_part_of_a_partition(bound):
  params = {'body': jnp.array([[1.0, -2.0]]), 'head': jnp.array([0.5, 3.0])}
  _, _, tx = bound(params)
  labels = {'body': 'frozen', 'head': 'trained'}
  part = optax.partition({'trained': tx, 'frozen': optax.set_to_zero()}, labels)
  update = jax.jit(partial(part.update, **EXTRA))
  updates, _ = update(params, part.init(params), params, value=jnp.float32(1.0))
  np.testing.assert_array_equal(updates['body'], 0.0)
  assert np.all(updates['head'] != 0)


@on_each_path
def test_its_state_comes_back_from_a_checkpoint(bound, tmp_path):
  params = small_tree()
  _, _, tx = bound(params)
  _, state = jax.jit(partial(tx.update, **EXTRA))(params, tx.init(params), params, value=1.0)
  saved = Checkpoints(tmp_path)
  saved.save(1, state)
  saved.close()
  restored, _ = Checkpoints(tmp_path).restore_or(tx.init(params))
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)


@on_each_path
def test_sharded_over_eight_devices_it_steps_as_on_one(bound):
  """To 2e-4: sums over a layer are taken in another order."""
  params = {'w': tree()['kernel'].repeat(4, axis=0), 'b': tree()['bias']}
  _, _, tx = bound(params)
  mesh = jax.make_mesh((8,), ('model',), axis_types=(jax.sharding.AxisType.Auto,))
  split = {'w': jax.sharding.PartitionSpec('model'), 'b': jax.sharding.PartitionSpec()}
  places = {name: jax.sharding.NamedSharding(mesh, spec) for name, spec in split.items()}

  @jax.jit
  def step(k, carry):
    params, state = carry
    grads = jax.tree.map(lambda w: jnp.sin(w + k) + 0.3, params)
    updates, state = tx.update(grads, state, params, value=1.0 + k, **EXTRA)
    return optax.apply_updates(params, updates), state

  def three_steps(params):
    carry = params, jax.jit(tx.init)(params)
    for k in range(3):
      carry = step(jnp.float32(k), carry)
    return carry[0]

  expected, got = three_steps(params), three_steps(jax.device_put(params, places))
  for name in params:
    np.testing.assert_allclose(got[name], expected[name], rtol=2e-4, atol=1e-6)

"""What every rule owes its callers, learned or not: one table, one test each."""

from functools import cache, partial

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

# What they do to a matrix is what their network says, here an untrained one: it need not descend.
LEARNS_DIRECTIONS = ('celo2', 'celo2_base')


@cache
def built(name):
  return l2o.rule(**(RULES | HEADS)[name][0])


@pytest.fixture(params=RULES)
def row(request):
  return request.param


@pytest.fixture
def bound(row):
  """params -> (rule, theta, transformation for 50 steps)."""

  def bind(params):
    rule = built(row)
    theta = rule.init(jax.random.key(0), params)
    return rule, theta, rule.bind(theta, 50)

  return bind


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_updates_state_and_what_is_evaluated_have_shapes_known_without_arrays(bound, dtype):
  """Updates and what is evaluated those of the parameters, a state those of the one before it."""
  params = tree(dtype)
  rule, _, tx = bound(params)

  def update(params):
    before = tx.init(params)
    updates, after = tx.update(params, before, params, value=1.0, unknown='ignored', **EXTRA)
    evaluated = rule.eval_params(before, params), rule.eval_params(after, params)
    return (updates, *evaluated), (before, after)

  of_params, states = jax.eval_shape(update, params)
  state = tx.init(params)
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
  kind = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
  assert [kind(x) for x in of_params] == 3 * [kind(params)]
  assert [kind(x) for x in states] == 2 * [kind(state)]


def test_small_trees(bound):
  for params in ({}, {'w': jnp.float32(2.0)}):
    _, _, tx = bound(params)
    update = jax.jit(partial(tx.update, value=1.0, **EXTRA))
    updates, _ = update(params, tx.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(updates))


@pytest.mark.parametrize(
  ('name', 'shape'),
  [(n, (1, 3)) for n in (*RULES, *HEADS)] + [(n, (3,)) for n in LEARNS_DIRECTIONS],
)
def test_the_plainest_loop_descends_in_one_program_and_donates_parameters_and_state(name, shape):
  """One tensor: there what is made for each tensor may be theta itself."""
  rule, settings = built(name), (RULES | HEADS)[name][1]
  params = {'head': jnp.array([-1.0, 2.0, 0.5]).reshape(shape)}
  theta = rule.init(jax.random.key(0), params)
  theta |= {name: jnp.float32(value) for name, value in settings.items()}
  tx = rule.bind(theta, 50)

  def loss(params):
    return quadratic_loss(params['head'].reshape(3))

  @partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    extra = {'value_fn': loss, 'value_and_grad_fn': jax.value_and_grad(loss)}
    updates, state = tx.update(grads, state, params, value=value, **extra)
    return optax.apply_updates(params, updates), state

  start, state = jax.tree.map(jnp.copy, params), tx.init(params)
  for _ in range(50):
    params, state = step(params, state)
  reached = loss(rule.eval_params(state, params))
  if name in LEARNS_DIRECTIONS and shape != (3,):
    assert reached != loss(start)
  else:
    assert reached < 0.5 * loss(start)
  for x in jax.tree.leaves(theta):
    assert np.all(np.isfinite(x))  # there, and not donated
  step(start, tx.init(start))
  assert step._cache_size() == 1


@on_each_path
def test_it_trains_its_part_inside_optax_wrappers_whose_state_comes_back(bound, tmp_path):
  """One around the other; a gradient that is not finite gets past all of them to none."""
  params = {name: x for name, x in tree().items() if name in ('scalar', 'conv', 'bias')}
  _, _, tx = bound(params)
  labels = {'scalar': 'trained', 'conv': 'trained', 'bias': 'frozen'}
  tx = optax.partition({'trained': tx, 'frozen': optax.set_to_zero()}, labels)
  tx = optax.chain(optax.clip_by_global_norm(1.0), tx)
  tx = optax.apply_if_finite(tx, max_consecutive_errors=2)
  tx = optax.MultiSteps(tx, every_k_schedule=1).gradient_transformation()
  update = jax.jit(partial(tx.update, **EXTRA))
  updates, state = update(params, tx.init(params), params, value=jnp.float32(1.0))
  np.testing.assert_array_equal(updates.pop('bias'), 0.0)
  assert all(np.all(np.isfinite(u)) and np.all(u != 0) for u in updates.values())
  lost = jax.tree.map(lambda x: x * jnp.nan, params)
  updates, _ = update(lost, state, params, value=jnp.float32(jnp.nan))
  assert all(np.all(u == 0) for u in jax.tree.leaves(updates))
  saved = Checkpoints(tmp_path)
  saved.save(1, state)
  saved.close()
  restored, _ = Checkpoints(tmp_path).restore_or(tx.init(params))
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)


@on_each_path
def test_a_stack_of_thetas_or_sharded_parameters_step_as_one_on_one_device(bound):
  """To 2e-4: sums over a layer are taken in another order."""
  params = {'w': tree()['kernel'].repeat(4, axis=0), 'b': tree()['bias']}
  rule, theta, _ = bound(params)
  rng = np.random.default_rng(2)
  others = [jax.tree.map(lambda x: x * np.float32(1 + 0.1 * rng.normal()), theta) for _ in 'ab']
  mesh = jax.make_mesh((8,), ('model',), axis_types=(jax.sharding.AxisType.Auto,))
  split = {'w': jax.sharding.PartitionSpec('model'), 'b': jax.sharding.PartitionSpec()}
  places = {name: jax.sharding.NamedSharding(mesh, spec) for name, spec in split.items()}

  def three_steps(theta, num_steps, params):
    """The parameters after them, and the last update."""
    tx = rule.bind(theta, num_steps)

    def step(k, carry):
      params, state, _ = carry
      grads = jax.tree.map(lambda w: jnp.sin(w + k) + 0.3, params)
      updates, state = tx.update(grads, state, params, value=1.0 + k, **EXTRA)
      return optax.apply_updates(params, updates), state, updates

    params, _, updates = jax.lax.fori_loop(0, 3, step, (params, tx.init(params), params))
    return params, updates

  run, num_steps = jax.jit(three_steps), jnp.int32(20)
  alone = [run(x, num_steps, params) for x in (theta, *others)]
  sharded = run(theta, num_steps, jax.device_put(params, places))
  stack = jax.tree.map(lambda *x: np.stack(x), theta, *others)
  stacked = jax.jit(jax.vmap(three_steps, (0, None, None)))(stack, num_steps, params)
  same = partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6)
  jax.tree.map(same, sharded[0], alone[0][0])
  jax.tree.map(same, stacked, jax.tree.map(lambda *x: np.stack(x), *alone))

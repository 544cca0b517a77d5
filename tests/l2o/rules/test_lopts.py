"""MLPLOpt, AdafacMLPLOpt and Celo2: recorded runs, an independent reference, properties."""

import os
import pathlib

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.rules import mlp_lopt, released
from l2o.rules.per_parameter import blocks
from tests.l2o.rules.lopt_reference import AdafacMLPLOpt, AdamW, Celo2Steps, MLPLOpt
from tests.l2o.rules.test_velo import nested

GOLDEN = pathlib.Path(__file__).parents[2] / 'golden'
ORACLES = {'mlp_lopt': MLPLOpt, 'adafac_mlp_lopt': AdafacMLPLOpt}
SPECS = {
  'mlp_lopt': {'name': 'mlp_lopt', 'hidden_size': 5},
  'adafac_mlp_lopt': {'name': 'adafac_mlp_lopt'},
  'celo2': {'name': 'celo2', 'learning_rate': 0.01},
  'celo2_base': {'name': 'celo2_base', 'learning_rate': 0.01},
}
# Of a conv, a stack, … the last two axes are the two largest or not, in either order.
SHAPES = {
  'scalar': (), 'one': (1,), 'bias': (5,), 'long': (7,), 'tall': (5, 2), 'wide': (2, 5),
  'row': (1, 4), 'twin': (2, 5), 'stack': (5, 1, 2), 'deep': (2, 4, 4), 'conv': (3, 5, 2, 1),
  'kernel': (3, 3, 2, 5),
}  # fmt: skip
FEW = {name: SHAPES[name] for name in ('scalar', 'bias', 'long', 'wide', 'twin', 'conv', 'kernel')}
RANKS = {name: SHAPES[name] for name in ('bias', 'conv')}


def but(*others):
  """Parameters for each rule, of which some are `slow`: what they compute, others compute too."""
  return [pytest.param(n, marks=[pytest.mark.slow] if n in others else []) for n in SPECS]


OWN = but('celo2_base')  # Celo2 but for the step's direction, whose recorded run is repeated


def draw(rng, scale=1.0, shapes=SHAPES):
  return {k: rng.normal(0.3, scale, shape).astype(np.float32) for k, shape in shapes.items()}


def bound(name, params, num_steps=10, **arguments):
  """The rule with every number of theta away from where it begins, and that theta."""
  rule = l2o.rule(**SPECS[name] | arguments)
  rng = np.random.default_rng(4)
  theta = rule.init(jax.random.key(1), params)
  theta = jax.tree.map(lambda x: x + 0.05 * rng.normal(0.2, 1.0, x.shape).astype('f4'), theta)
  return rule.bind(theta, num_steps), theta


def replay(tx, golden, params_key='params', moved_tolerance=1e-5, roundings=1, names=None):
  """Feeds the recorded gradients, of all tensors or some, and compares parameters at each step."""

  def part(prefix):
    return {k: x for k, x in nested(golden, prefix).items() if names is None or k in names}

  start = params = jax.tree.map(jnp.asarray, part('params0/'))
  state, update = tx.init(params), jax.jit(tx.update)
  for t in range(6):
    updates, state = update(part(f'grads/{t}/'), state, params)
    params = jax.tree.map(np.add, params, updates)
    for name, wanted in part(f'{params_key}/{t}/').items():
      off = np.max(np.abs(params[name] - wanted))
      assert off <= 2e-6, (t, name)
      # One rounding of the parameter is what a recorded movement cannot be better than.
      moved = np.max(np.abs(wanted - start[name]))
      rounding = roundings * np.spacing(np.max(np.abs(wanted)))
      assert off <= moved_tolerance * moved + rounding, (t, name)
  return state


def check_accumulators(groups, golden):
  """Sums of the averages over all tensors and entries; the updates have checked each alone."""
  final = nested(golden, 'final/')

  def total(names, channel):
    return sum(np.sum(x[..., channel]) for name in names for x in final[name].values())

  for k in range(3):
    found = sum(np.sum(group.momenta[k]) for group in groups)
    np.testing.assert_allclose(found, total(['mom'], k), rtol=1e-5)
    rows = sum(np.sum(group.row[..., k, :]) for group in groups)
    np.testing.assert_allclose(rows, total(['v_row', 'v_diag'], k), rtol=1e-5)
    cols = sum(np.sum(group.col[..., k, :]) for group in groups if group.col is not None)
    np.testing.assert_allclose(cols, total(['v_col'], k), rtol=1e-5)
  found = sum(np.sum(group.second) for group in groups)
  np.testing.assert_allclose(found, total(['rms'], 0), rtol=1e-5)


@pytest.mark.parametrize('name', ['mlp_lopt', 'adafac_mlp_lopt'])
def test_it_repeats_a_recorded_run(name):
  golden = np.load(GOLDEN / f'{name}.npz')
  state = replay(l2o.rule(name).bind(nested(golden, 'theta/'), 6), golden)
  assert state.step == golden['final/iteration']
  if name == 'adafac_mlp_lopt':
    check_accumulators(state.accumulators, golden)


def celo2_forms(golden):
  """The recorded forms but that of meta-training: key in the file -> rule."""
  arguments = {'schedule': 'linear', 'weight_decay': float(golden['weight_decay'])}
  return {
    'params': l2o.rule('celo2', **arguments),
    'base': l2o.rule('celo2_base', **arguments),
  }


@pytest.mark.slow  # the test after it repeats their steps, and the reference has all shapes
@pytest.mark.parametrize('whole', [False, True])
def test_celo2_repeats_recorded_runs(whole):
  """The base form all tensors; the others some, unless `whole`: all raw steps are recorded too."""
  golden = np.load(GOLDEN / 'celo2.npz')
  theta = nested(golden, 'theta/')
  names = [*golden['adam_names'], 'dense']
  for key, rule in celo2_forms(golden).items():
    part = None if whole or key == 'base' else names
    state = replay(rule.bind(theta, 10), golden, key, names=part)
  check_accumulators(state.accumulators, golden)
  meta = l2o.rule('celo2', weight_decay=float(golden['weight_decay']), bias_correction=False)
  # Another AdamW. The recording rounds the weight decay and the step each by itself, at every step.
  replay(meta.bind(theta, 10), golden, 'meta', roundings=4, names=names)


@pytest.mark.parametrize(
  ('matrices', 'left_out'),
  [
    (False, ()),
    (True, ('square', 'row', 'stack', 'cube')),  # the reference has shapes like these
    pytest.param(True, (), marks=pytest.mark.slow),
  ],
)
def test_celo2_repeats_recorded_raw_steps(matrices, left_out):
  """Of matrices, embeddings too, or of the vectors, at parameters that stay."""
  golden = np.load(GOLDEN / 'celo2.npz')
  names = [k for k, x in nested(golden, 'params0/').items() if (x.ndim > 1) == matrices]
  names = [name for name in names if name not in left_out]
  params = {k: jnp.asarray(golden[f'params0/{k}']) for k in names}
  rule = l2o.rule('celo2', learning_rate=1.0, embeddings='(?!)')
  rule = rule if matrices else l2o.rule('celo2_base', learning_rate=1.0)
  tx = rule.bind(nested(golden, 'theta/'), 10)
  state, update = tx.init(params), jax.jit(tx.update)
  for t in range(6):
    updates, state = update({k: golden[f'grads/{t}/{k}'] for k in names}, state, params)
    for name, wanted in nested(golden, f'raw/{t}/').items():
      if name in names:
        atol = 2e-5 * np.max(np.abs(wanted))
        np.testing.assert_allclose(-updates[name], wanted, rtol=0, atol=atol)


def test_celo2_with_its_released_weights_repeats_recorded_runs():
  if 'L2O_CELO2' not in os.environ:
    pytest.skip("L2O_CELO2 does not name a file with Celo2's released weights")
  path, golden = os.environ['L2O_CELO2'], np.load(GOLDEN / 'celo2_pretrained.npz')
  arguments = {'schedule': 'linear', 'weight_decay': float(golden['weight_decay'])}
  replay(l2o.load(path, nested(golden, 'params0/'), num_steps=10, **arguments), golden)
  replay(celo2_forms(golden)['base'].bind(l2o.read(path).theta, 10), golden, 'base')


@pytest.mark.parametrize('name', OWN)
def test_it_agrees_with_the_reference(name, monkeypatch):
  """In blocks of a few entries, the last of which overlap."""
  monkeypatch.setattr(mlp_lopt, 'CHUNK', 9)
  monkeypatch.setattr(blocks, 'BLOCK', 20)
  rng = np.random.default_rng(7)
  params = draw(rng)
  decay = 0.3 if 'celo2' in name else 0.0
  tx, theta = bound(name, params, **({'weight_decay': decay} if decay else {}))
  theta = jax.tree.map(np.asarray, theta)
  if name in ORACLES:
    oracle = ORACLES[name](theta, params)
  else:
    oracle = Celo2Steps(theta, params, orthogonal=name == 'celo2')
  adamw = {k: AdamW(decay) for k, p in params.items() if name == 'celo2' and p.ndim < 2}
  state, update = tx.init(params), jax.jit(tx.update)
  for t in range(4):
    grads = draw(rng, 0.2 * 10.0 ** (t - 1))
    updates, state = update(grads, state, params)
    wanted = oracle.update(params, grads)
    for key, p in params.items():
      step = wanted[key]
      if key in adamw:
        step = -0.2 * adamw[key].update(p, grads[key].astype(np.float64))
      elif decay:
        step = -0.01 * (step + decay * p)
      atol = 1e-4 * np.max(np.abs(step)) + 1e-9
      np.testing.assert_allclose(updates[key], step, rtol=0, atol=atol, err_msg=f'{t} {key}')
    params = {k: p + np.asarray(updates[k]) for k, p in params.items()}


@pytest.mark.parametrize('name', OWN)
def test_a_tensor_is_stepped_as_if_alone(name):
  """What happens to another, even of its shape, does not reach it."""
  rng = np.random.default_rng(2)
  params, grads = draw(rng, shapes=FEW), draw(rng, shapes=FEW)
  lost = grads | {k: np.full_like(grads[k], np.nan) for k in ('bias', 'wide', 'kernel')}
  tx, _ = bound(name, params)
  update = jax.jit(tx.update)
  _, state = update(lost, tx.init(params), params)
  updates, _ = update(grads, state, params)
  _, state = update(grads, tx.init(params), params)
  expected, _ = update(grads, state, params)
  for key in params.keys() - {'bias', 'wide', 'kernel'}:
    np.testing.assert_array_equal(updates[key], expected[key])
  assert np.all(np.isnan(updates['kernel']))


@pytest.mark.parametrize('name', OWN)
def test_no_gradient_at_all_is_no_trouble(name):
  params = draw(np.random.default_rng(3), shapes=RANKS) | {'none': np.zeros((0, 3), np.float32)}
  nothing = jax.tree.map(jnp.zeros_like, params)
  tx, _ = bound(name, params)
  update = jax.jit(tx.update)
  updates, state = update(nothing, tx.init(params), params)
  updates, state = update(nothing, state, params)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, state)))
  assert updates['none'].shape == (0, 3)
  norms = [np.linalg.norm(np.ravel(x)) for x in jax.tree.leaves(updates)]
  rule = l2o.rule(**SPECS[name])
  np.testing.assert_allclose(rule.diagnostics(state)['step_norm'], norms, rtol=1e-5)


@pytest.mark.parametrize('name', OWN)
def test_bfloat16_is_computed_in_float32(name):
  drawn = draw(np.random.default_rng(0), shapes=RANKS)
  narrow = {k: jnp.asarray(x, jnp.bfloat16) for k, x in drawn.items()}
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
  tx, _ = bound(name, wide)
  update = jax.jit(tx.update)
  low, state = update(narrow, tx.init(narrow), narrow)
  high, _ = update(wide, tx.init(wide), wide)
  for key in narrow:
    np.testing.assert_array_equal(low[key], high[key].astype(jnp.bfloat16), err_msg=key)
  assert all(x.dtype != jnp.bfloat16 for x in jax.tree.leaves(state))


@pytest.mark.parametrize('name', but('adafac_mlp_lopt', 'celo2'))
def test_gradients_flow_to_theta(name):
  """Of a weighted sum of one update, against differences along the gradient."""
  rng = np.random.default_rng(6)
  params, grads, weights = (draw(rng, shapes={'w': (3, 2)}) for _ in range(3))
  _, theta = bound(name, params, hidden_size=2)
  rule = l2o.rule(**SPECS[name] | {'hidden_size': 2})

  def gain(theta):
    tx = rule.bind(theta, 10)
    updates, _ = tx.update(grads, tx.init(params), params)
    return 100.0 * jnp.sum(updates['w'] * weights['w'])

  value_and_grad = jax.jit(jax.value_and_grad(gain))
  gradient = value_and_grad(theta)[1]
  size = jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(gradient)))
  assert size > 0
  move = lambda h: jax.tree.map(lambda x, g: x + h * g / size, theta, gradient)  # noqa: E731
  slope = (value_and_grad(move(1e-3))[0] - value_and_grad(move(-1e-3))[0]) / 2e-3
  np.testing.assert_allclose(slope, size, rtol=0.02)


def test_orthogonal_steps_have_near_equal_singular_values():
  params = {'w': jnp.asarray(np.random.default_rng(1).normal(0.3, 1.0, (7, 4)), jnp.float32)}
  steps = {}
  for name in ('celo2', 'celo2_base'):
    tx, _ = bound(name, params)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    steps[name] = np.linalg.svd(updates['w'])[1]
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(updates['w']))), 0.01, rtol=1e-4)
  assert steps['celo2'].max() < 2.0 * steps['celo2'].min()
  assert steps['celo2_base'].max() > 3.0 * steps['celo2_base'].min()


def test_embeddings_go_to_adamw():
  params = {'Embed_0': {'embedding': jnp.full((3, 2), 0.5)}, 'head': jnp.array([[1.0, -2.0]])}
  for pattern, sign in (('(?i)embed', True), ('head', False)):
    tx, _ = bound('celo2', params, embeddings=pattern, adamw_rate=3.0)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    steps = updates['Embed_0']['embedding'], updates['head']
    adam, learned = steps if sign else steps[::-1]
    np.testing.assert_allclose(np.abs(adam), 0.03, rtol=1e-5)  # Adam's first step
    assert np.max(np.abs(learned)) < 0.02


@pytest.mark.parametrize('name', OWN)
def test_a_saved_one_comes_back(name, tmp_path):
  params = {'w': jnp.array([[0.5, -2.0], [1.0, 0.3]])}
  tx, theta = bound(name, params)
  l2o.save(tmp_path / 'mine.safetensors', theta, params, SPECS[name])
  again = l2o.load(tmp_path / 'mine.safetensors', params, num_steps=10)
  got, wanted = (jax.jit(t.update)(params, t.init(params), params) for t in (again, tx))
  jax.tree.map(np.testing.assert_array_equal, got, wanted)


@pytest.mark.parametrize('name', SPECS)
def test_released_files_are_read(name, tmp_path):
  path, rule = tmp_path / 'theta.msgpack', l2o.rule(**SPECS[name])
  theta = rule.init(jax.random.key(2), {})
  tree = jax.tree.map(np.asarray, theta)
  if name == 'mlp_lopt':  # there a layer's key is one string
    tree = {f'mlp/~/{layer}': leaves for layer, leaves in tree['mlp']['~'].items()}
  path.write_bytes(flax.serialization.msgpack_serialize(tree))
  jax.tree.map(np.testing.assert_array_equal, released.load_theta(path), theta)
  start = l2o.rule(name, weights=str(path)).init(jax.random.key(0), {})
  jax.tree.map(np.testing.assert_array_equal, start, theta)
  l2o.save(tmp_path / 'own', start, {}, {'name': name, 'weights': str(path)})
  path.unlink()
  assert (
    l2o.read(tmp_path / 'own').spec['hidden_size'] == released.widths(name, theta)['hidden_size']
  )


def test_arguments_of_a_loaded_rule_may_be_given(tmp_path):
  params = {'w': jnp.array([[0.5, -2.0], [1.0, 0.3]])}
  _, theta = bound('celo2', params)
  path = tmp_path / 'theta.msgpack'
  path.write_bytes(flax.serialization.msgpack_serialize(jax.tree.map(np.asarray, theta)))
  arguments = {'learning_rate': 0.01, 'schedule': 'cosine', 'weight_decay': 0.1}
  tx = l2o.load(path, params, num_steps=10, **arguments)
  same = l2o.rule('celo2', **arguments).bind(theta, 10)
  got, wanted = (jax.jit(t.update)(params, t.init(params), params) for t in (tx, same))
  jax.tree.map(np.testing.assert_array_equal, got, wanted)
  with pytest.raises(l2o.InputError, match="rule celo2 has no 'decay'"):
    l2o.load(path, params, num_steps=10, decay=0.1)
  with pytest.raises(l2o.InputError, match='does not match its rule'):
    l2o.load(path, params, num_steps=10, hidden_size=4)
  with pytest.raises(l2o.InputError, match='holds weights of celo2, not of mlp_lopt'):
    l2o.rule('mlp_lopt', weights=str(path)).init(jax.random.key(0), params)
  path.write_bytes(flax.serialization.msgpack_serialize({'other': np.ones(2)}))
  with pytest.raises(l2o.InputError, match='no weights of VeLO or Celo, Celo2, MLPLOpt or Adaf'):
    l2o.read(path)


@pytest.mark.parametrize('name', OWN)
def test_the_program_does_not_grow_with_equal_tensors(name):
  def operations(count):
    params = {f'{i}': jnp.ones((4, 3)) for i in range(count)} | {'b': jnp.ones(5)}
    tx, _ = bound(name, params)
    text = jax.jit(tx.update).lower(params, tx.init(params), params).as_text()
    return [text.count(f'stablehlo.{word}') for word in ('while', 'exponential', 'dot_general')]

  assert operations(2) == operations(9)
  assert operations(2)[0] > 0

"""VeLO and Celo: recorded runs, an independent reference, and what theta and K may be."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import l2o
from l2o.rules.per_parameter.inputs import BLOCKS
from l2o.rules.velo import celo, load_theta, velo
from tests.l2o.rules.velo_reference import Reference, released

GOLDEN = pathlib.Path(__file__).parents[2] / 'golden'
RULES = {'velo': (velo(8, 4), 100.0), 'celo': (celo(6, 3), 1.0)}


def nested(arrays, prefix):
  tree = {}
  for name in arrays.files:
    if name.startswith(prefix):
      *branch, leaf = name.removeprefix(prefix).split('/')
      node = tree
      for key in branch:
        node = node.setdefault(key, {})
      node[leaf] = arrays[name]
  return tree


def replay(tx, golden):
  """Feeds the recorded gradients and losses, and compares the parameters after each step."""
  start = params = jax.tree.map(jnp.asarray, nested(golden, 'params0/'))
  state, update = tx.init(params), jax.jit(tx.update)
  for t, loss in enumerate(golden['losses']):
    updates, state = update(nested(golden, f'grads/{t}/'), state, params, value=loss)
    params = jax.tree.map(jnp.add, params, updates)
    for name, wanted in nested(golden, f'params/{t}/').items():
      moved = np.max(np.abs(wanted - start[name]))
      np.testing.assert_allclose(params[name], wanted, rtol=0, atol=2e-6)
      # One rounding of the parameter is what a recorded movement cannot be better than.
      rounding = np.spacing(np.max(np.abs(wanted)))
      assert np.max(np.abs(params[name] - wanted)) <= 1e-4 * moved + rounding, (t, name)
  return state


def test_velo_repeats_a_recorded_run():
  golden = np.load(GOLDEN / 'velo_hyperv2_small.npz')
  tx = velo(8, 4).bind(nested(golden, 'theta/'), int(golden['num_steps']))
  state = replay(tx, golden)
  final = nested(golden, 'final/')
  np.testing.assert_allclose(state.lstm.hidden, final['lstm']['hidden'], atol=2e-5)
  np.testing.assert_allclose(state.lstm.cell, final['lstm']['cell'], atol=2e-5)
  np.testing.assert_allclose(state.loss.means, final['loss_buffer']['means'], rtol=1e-5)
  np.testing.assert_allclose(state.loss.running_min, final['loss_buffer']['running_min'], rtol=1e-5)
  for k, name in enumerate(sorted(final['mom'])):
    mean = np.mean(final['mom'][name].reshape(-1, 3), axis=0)
    np.testing.assert_allclose(state.moments.mean[k, :3], mean, rtol=1e-4, atol=1e-7)


def test_celo_with_its_released_weights_repeats_a_recorded_run():
  if 'L2O_CELO' not in os.environ:
    pytest.skip("L2O_CELO does not name a file with Celo's released weights")
  golden = np.load(GOLDEN / 'celo_pretrained.npz')
  replay(celo().bind(load_theta(os.environ['L2O_CELO']), int(golden['num_steps'])), golden)


shapes = st.lists(st.sampled_from([1, 2, 3, 3, 5]), max_size=4).map(tuple)


@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.lists(shapes, min_size=1, max_size=2), st.sampled_from(sorted(RULES)))
def test_it_agrees_with_the_reference_on_any_tree(shapes, name):
  rule, interpolation = RULES[name]
  rng = np.random.default_rng(len(shapes))
  draw = lambda scale: {  # noqa: E731
    f'{i}': rng.normal(0.3, scale, shape).astype(np.float32)
    for i, shape in enumerate([*shapes, shapes[0]])
  }
  params = draw(1.0)
  theta = rule.init(jax.random.key(1), params)
  tx = rule.bind(theta, 7)
  oracle = Reference(jax.tree.map(np.asarray, theta), params, 7, interpolation, name == 'celo')
  state, update = tx.init(params), jax.jit(tx.update)
  for t in range(4):
    grads = draw(0.2 * 10.0 ** (t - 2))
    updates, state = update(grads, state, params, value=jnp.float32(3.0 - t))
    for key, wanted in oracle.update(params, grads, 3.0 - t).items():
      atol = 1e-4 * np.max(np.abs(wanted)) + 1e-9
      np.testing.assert_allclose(updates[key], wanted, rtol=0, atol=atol)
    params = jax.tree.map(lambda p, u: p + np.asarray(u), params, updates)


def test_bfloat16_is_computed_in_float32():
  rule, _ = RULES['velo']
  rng = np.random.default_rng(0)
  narrow = {'w': jnp.asarray(rng.normal(0.3, 1.0, (4, 3)), jnp.bfloat16)}
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
  tx = rule.bind(rule.init(jax.random.key(1), wide), 7)
  update = jax.jit(tx.update)
  low, state = update(narrow, tx.init(narrow), narrow, value=1.0)
  high, _ = update(wide, tx.init(wide), wide, value=1.0)
  np.testing.assert_array_equal(low['w'], high['w'].astype(jnp.bfloat16))
  assert all(x.dtype != jnp.bfloat16 for x in jax.tree.leaves(state))


def test_weight_decay_is_a_gradient():
  params, grads = {'w': jnp.array([0.5, -2.0])}, {'w': jnp.array([0.1, 0.3])}
  theta = RULES['velo'][0].init(jax.random.key(0), params)
  decayed, plain = (velo(8, 4, weight_decay=w).bind(theta, 9) for w in (0.1, 0.0))
  a, _ = decayed.update(grads, decayed.init(params), params, value=1.0)
  added = {'w': grads['w'] + 0.1 * params['w']}
  b, _ = plain.update(added, plain.init(params), params, value=1.0)
  np.testing.assert_allclose(a['w'], b['w'], rtol=1e-5)


def test_a_horizon_beyond_its_training_accumulates():
  params = {'w': jnp.array([0.5, -2.0])}
  theta = RULES['velo'][0].init(jax.random.key(0), params)
  long, short = velo(8, 4, max_steps=10).bind(theta, 15), velo(8, 4).bind(theta, 8)
  first, second = ({'w': jnp.array(g)} for g in ([0.1, 0.2], [0.3, -0.4]))
  nothing, state = long.update(first, long.init(params), params, value=jnp.float32(3.0))
  both, state = long.update(second, state, params, value=jnp.float32(1.0))
  mean = {'w': (first['w'] + second['w']) / 2}
  wanted, inner = short.update(mean, short.init(params), params, value=jnp.float32(2.0))
  assert not np.any(nothing['w'])
  np.testing.assert_allclose(both['w'], wanted['w'], rtol=1e-5)
  np.testing.assert_allclose(state.inner_opt_state.loss.means, inner.loss.means, rtol=1e-6)
  assert velo(8, 4).diagnostics(state)['lr_mult'].shape == (1,)


def test_a_leaf_without_entries_changes_nothing():
  full = {'b': jnp.array([0.5, -2.0])}
  tx = RULES['velo'][0].bind(RULES['velo'][0].init(jax.random.key(0), full), 9)
  holey = full | {'a': jnp.zeros((0, 3))}
  with_hole, _ = tx.update(holey, tx.init(holey), holey, value=1.0)
  alone, _ = tx.update(full, tx.init(full), full, value=1.0)
  np.testing.assert_allclose(with_hole['b'], alone['b'], rtol=1e-6)
  assert with_hole['a'].shape == (0, 3)


def test_theta_of_the_other_rule_is_refused():
  theta = RULES['celo'][0].init(jax.random.key(0), {})
  with pytest.raises(l2o.InputError, match='velo has 30 features'):
    RULES['velo'][0].bind(theta, 10)


def test_a_released_file_is_read(tmp_path):
  (tmp_path / 'theta').write_bytes(released())
  theta = load_theta(tmp_path / 'theta')
  assert theta['rnn_params']['rnn']['linear']['w'].shape == (8, 16)
  assert len(theta['ff_mod_stack']['~']) == len(BLOCKS) + 5
  celo(4, 2).bind(theta, 10)


def test_a_released_file_is_an_optimizer_to_load(tmp_path):
  (tmp_path / 'theta').write_bytes(released())
  params = {'kernel': jnp.array([[0.5, -2.0]]), 'bias': jnp.array([0.3])}
  tx = l2o.load(tmp_path / 'theta', params, num_steps=10)
  same = celo(4, 2).bind(load_theta(tmp_path / 'theta'), 10)
  got, wanted = (jax.jit(t.update)(params, t.init(params), params, value=1.0) for t in (tx, same))
  jax.tree.map(np.testing.assert_array_equal, got, wanted)
  rule = l2o.rule('artifact', path=str(tmp_path / 'theta'))
  jax.tree.map(
    np.testing.assert_array_equal, rule.init(None, params), l2o.read(tmp_path / 'theta').theta
  )


def test_released_weights_are_a_theta_to_begin_with(tmp_path):
  (tmp_path / 'theta').write_bytes(released())
  theta = l2o.rule('celo', weights=str(tmp_path / 'theta')).init(jax.random.key(0), {})
  jax.tree.map(np.testing.assert_array_equal, theta, load_theta(tmp_path / 'theta'))
  with pytest.raises(l2o.InputError, match='holds weights of celo, not of velo'):
    l2o.rule('velo', weights=str(tmp_path / 'theta')).init(jax.random.key(0), {})


@pytest.mark.parametrize('name', ['velo', 'celo'])
def test_the_first_step_has_the_length_and_direction_it_begins_with(name):
  rng = np.random.default_rng(0)
  params = {'w': jnp.asarray(rng.normal(0.3, 2.0, (30, 20)), jnp.float32)}
  grads = {'w': jnp.asarray(rng.normal(0.1, 1.0, (30, 20)), jnp.float32)}
  rule = l2o.rule(name, lstm_width=8, bank_size=4, initial_step=0.02)
  tx = rule.bind(rule.init(jax.random.key(3), params), 50)
  updates, _ = jax.jit(tx.update)(grads, tx.init(params), params, value=1.0)
  step, sign = np.ravel(updates['w']), -np.sign(np.ravel(grads['w']))  # Adam's first step
  relative = np.linalg.norm(step) / np.linalg.norm(params['w'])
  assert 0.01 < relative < 0.04
  assert step @ sign / np.linalg.norm(step) / np.linalg.norm(sign) > 0.8


def test_only_the_head_is_trained():
  """As on the head alone: the network across tensors sees no others."""
  params = {'body': jnp.array([[1.0, -2.0]]), 'head': {'w': jnp.array([0.5, 3.0])}}
  whole = l2o.rule('head_only', rule={'name': 'celo', 'lstm_width': 6, 'bank_size': 3})
  theta = whole.init(jax.random.key(0), params)
  tx, alone = whole.bind(theta, 9), RULES['celo'][0].bind(theta, 9)
  updates, state = jax.jit(tx.update)(params, tx.init(params), params, value=1.0)
  head = params['head']
  wanted, _ = jax.jit(alone.update)(head, alone.init(head), head, value=1.0)
  np.testing.assert_array_equal(updates['body'], 0.0)
  np.testing.assert_allclose(updates['head']['w'], wanted['w'], rtol=1e-5)
  assert whole.diagnostics(state)['lr_mult'].shape == (1,)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda t: t['ff_mod_stack']['~'].pop('w0__3'), 'ff_mod_stack/~/w0__3 is missing'),
    (lambda t: t.update(more=np.ones(1)), 'more is unknown'),
    (
      lambda t: t['rnn_params']['step_size'].update(b=np.ones(2)),
      r'rnn_params/step_size/b is \(2,\), not \(1,\)',
    ),
    (lambda t: t.pop('lstm_init_state'), 'lstm_init_state/hidden'),
  ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, change, message):
  (tmp_path / 'theta').write_bytes(released(change))
  with pytest.raises(l2o.InputError, match=message):
    load_theta(tmp_path / 'theta')


def test_a_file_of_another_format_is_refused(tmp_path):
  (tmp_path / 'theta').write_text('hello')
  for name in ('theta', 'none'):
    with pytest.raises(l2o.InputError, match=name):
      load_theta(tmp_path / name)


def test_the_program_does_not_grow_with_equal_tensors():
  def loops(count):
    params = {f'{i}': jnp.ones((4, 3)) for i in range(count)} | {'b': jnp.ones(5)}
    tx = RULES['velo'][0].bind(RULES['velo'][0].init(jax.random.key(0), params), 9)
    text = jax.jit(tx.update).lower(params, tx.init(params), params, value=1.0).as_text()
    return text.count('stablehlo.while'), text.count('stablehlo.exponential')

  assert loops(2) == loops(9)

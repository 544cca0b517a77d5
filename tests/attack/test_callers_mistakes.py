"""What a caller gets wrong around a bound rule is one sentence, whatever the rule."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from tests.l2o.rules.test_contract import EXTRA, HEADS, RULES

PARAMS = {'body': jnp.array([1.0, -2.0]), 'head': jnp.array([[0.5, 3.0, -1.0]])}
LOPTS = ('mlp_lopt', 'adafac_mlp_lopt', 'celo2', 'celo2_base')  # need no loss
NAMES = (
  *('l3rs', 'velo', 'celo', 'hub', 'lgl2o', 'lgl2o, period 3', 'adam', 'sgd', 'head_only'),
  *LOPTS,
)
NEED_LOSS = ('l3rs', 'velo', 'celo', 'hub', 'lgl2o', 'head_only')
SPECS = {name: spec for name, (spec, _) in (RULES | HEADS).items() if name in NAMES}


def bound(name, params=PARAMS, num_steps=50):
  rule = l2o.rule(**SPECS[name])
  return rule.bind(rule.init(jax.random.key(0), params), num_steps)


def wide(params):
  return {**params, 'head': jnp.ones((2, 3))}


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
  ('grads', 'says'),
  [
    (wide(PARAMS), r'the gradients .*: head has the shape \(2, 3\), not \(1, 3\)'),
    ({**PARAMS, 'body': jnp.ones(1)}, r'the gradients .*: body has the shape \(1,\), not \(2,\)'),
    ({'head': PARAMS['head'], 'tail': PARAMS['body']}, 'missing body; unknown tail'),
    ({'head': PARAMS['head']}, 'missing body; unknown none'),
    (tuple(PARAMS.values()), 'missing body, head; unknown 0, 1'),
  ],
)
def test_gradients_of_another_tree_are_refused(name, grads, says):
  tx = bound(name)
  with pytest.raises(l2o.InputError, match=says):
    tx.update(grads, tx.init(PARAMS), PARAMS, value=1.0, **EXTRA)


# SGD has no state but the count of its schedule, which fits any parameters.
@pytest.mark.parametrize('name', [name for name in NAMES if name != 'sgd'])
@pytest.mark.parametrize('other', [wide(PARAMS), PARAMS | {'last': jnp.ones(2)}])
def test_a_state_of_another_tree_is_refused(name, other):
  state = bound(name, other).init(other)
  with pytest.raises(l2o.InputError, match='the state does not match the parameters'):
    bound(name).update(PARAMS, state, PARAMS, value=1.0, **EXTRA)


@pytest.mark.parametrize('name', NAMES)
def test_whole_numbers_are_no_parameters(name):
  params = {'body': PARAMS['body'], 'head': jnp.arange(6).reshape(2, 3)}
  with pytest.raises(l2o.InputError, match=r'cannot train layer head of type int32: keep it out'):
    bound(name).init(params)


def test_whole_numbers_may_be_frozen():
  params = {'count': jnp.arange(3), 'head': PARAMS['head']}
  grads = {'count': jnp.zeros(3), 'head': PARAMS['head']}
  tx = bound('head_only', params)
  updates, _ = jax.jit(lambda state: tx.update(grads, state, params, value=1.0))(tx.init(params))
  assert updates['count'].dtype == jnp.int32 or np.all(updates['count'] == 0)


@pytest.mark.parametrize('name', [*NEED_LOSS, *LOPTS])
def test_an_imaginary_part_is_not_dropped(name):
  params = PARAMS | {'head': jnp.full((1, 3), 1.0 + 2.0j)}
  with pytest.raises(l2o.InputError, match='cannot train layer head of type complex64: train its'):
    bound(name).init(params)
  tx = bound(name)
  with pytest.raises(l2o.InputError, match=r'layer head (of type complex64|is complex, but)'):
    tx.update(params, tx.init(PARAMS), PARAMS, value=1.0, **EXTRA)


def test_hand_designed_rules_train_complex_parameters():
  params = {'w': jnp.array([1.0 + 2.0j])}
  tx = bound('sgd', params)
  updates, _ = tx.update(params, tx.init(params), params)
  np.testing.assert_allclose(updates['w'], -0.001 * params['w'], rtol=1e-6)


@pytest.mark.parametrize('name', NEED_LOSS)
def test_no_loss_and_no_parameters_name_the_call(name):
  tx = bound(name)
  state = tx.init(PARAMS)
  with pytest.raises(l2o.InputError, match=r'needs the loss: call update\(grads, state, params, v'):
    tx.update(PARAMS, state, PARAMS, value_fn=EXTRA['value_fn'])
  with pytest.raises(l2o.InputError, match=r'needs the parameters: call update\(grads, state, par'):
    tx.update(PARAMS, state, value=1.0, **EXTRA)


@pytest.mark.parametrize('name', LOPTS)
def test_no_parameters_name_the_call_without_a_loss(name):
  tx = bound(name)
  with pytest.raises(l2o.InputError, match=r'needs the parameters: call update\(grads, state, par'):
    tx.update(PARAMS, tx.init(PARAMS))
  jax.eval_shape(lambda p: tx.update(p, tx.init(p), p), PARAMS)


@pytest.mark.parametrize('name', NEED_LOSS)
@pytest.mark.parametrize('shape', [(1,), (4,)])
def test_a_loss_that_is_no_scalar_is_refused(name, shape):
  tx = bound(name)
  says = re.escape(f'the loss must be a scalar, not of shape {shape}')
  with pytest.raises(l2o.InputError, match=says):
    tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=jnp.ones(shape), **EXTRA)


def test_fresh_losses_that_are_no_scalars_are_refused():
  tx = bound('lgl2o')
  extra = {'value': 1.0, 'value_fn': lambda params: jnp.ones(3)}
  with pytest.raises(l2o.InputError, match=r'value_fn returns must be a scalar, not of shape \(3,'):
    tx.update(PARAMS, tx.init(PARAMS), PARAMS, **extra)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
  'num_steps', [0, -3, 2.5, float('nan'), float('inf'), '9', None, jnp.int32(0), np.array([3, 4])]
)
def test_a_horizon_is_a_whole_number_above_zero(name, num_steps):
  with pytest.raises(l2o.InputError, match=r'num_steps \(K\) must be a whole number of at least 1'):
    bound(name, num_steps=num_steps)


@pytest.mark.parametrize('name', ['l3rs-quickstart', 'velo-quickstart'])
def test_a_loaded_optimizer_has_a_horizon_too(name):
  with pytest.raises(l2o.InputError, match=r'num_steps \(K\)'):
    l2o.load(name, PARAMS, 0, on_mismatch='mean_embedding')


def test_one_step_and_traced_horizons_pass():
  for num_steps in (1, np.int64(3), 2.0, jnp.int32(5)):
    bound('l3rs', num_steps=num_steps)
  jax.jit(lambda K: bound('velo', num_steps=K).init(PARAMS).step)(0)


def test_trees_of_another_kind_are_refused():
  tx = bound('velo', [jnp.ones(2)])
  state = tx.init([jnp.ones(2)])
  with pytest.raises(l2o.InputError, match='same names, but the trees differ in type'):
    tx.update((jnp.ones(2),), state, [jnp.ones(2)], value=1.0)


def test_a_masked_tree_is_no_other_tree():
  tx = optax.masked(bound('velo', {'w': PARAMS['head']}), {'body': False, 'head': True})
  step = jax.eval_shape(lambda p: tx.update(p, tx.init(p), p, value=1.0), PARAMS)
  assert step[0]['head'].shape == (1, 3)

"""Networks over time: LTC against recorded numbers, the others against what is known of them."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.models import ltc
from l2o.models.lstm import LSTM
from l2o.models.neural_ode import NeuralODE

GOLDEN = 'tests/golden/ltc_ncp8.npz'  # inputs, outputs, and gradients of the sum of squared outputs


@pytest.fixture
def golden():
  with np.load(GOLDEN) as arrays:
    return dict(arrays)


def assert_close(got, expected, message=''):
  """To 1e-5 of the array's largest entry."""
  scale = max(np.max(np.abs(expected)), 1e-30)
  assert got.shape == expected.shape
  np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=1e-5, err_msg=message)


def test_ltc_agrees_with_the_recorded_outputs_states_and_gradients(golden):
  model, inputs = ltc.LTC(num_outputs=1, units=8), jnp.asarray(golden['x'])
  names = model.init(jax.random.key(0), inputs, train=False)['params']
  params = {name: jnp.asarray(golden[f'param/{name}']) for name in names}

  def loss(params):
    outputs, state = model.apply({'params': params}, inputs, train=False, return_state=True)
    return jnp.sum(outputs**2), (outputs, state)

  (_, (outputs, state)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  assert_close(outputs, golden['y'])
  assert_close(state, golden['h'])
  assert {f'grad/{name}' for name in names} == {k for k in golden if k.startswith('grad/')}
  for name, grad in grads.items():
    assert_close(grad, golden[f'grad/{name}'], name)


def test_the_wiring_is_the_recorded_one_and_starts_the_polarities(golden):
  wiring = ltc.ncp_wiring(inputs=3, units=8, outputs=1)
  np.testing.assert_array_equal(wiring.neurons, golden['adjacency'])
  np.testing.assert_array_equal(wiring.inputs, golden['sensory_adjacency'])
  params = ltc.LTC(num_outputs=1).init(jax.random.key(0), jnp.zeros((1, 2, 3)), train=False)
  np.testing.assert_array_equal(params['params']['erev'], wiring.neurons)
  np.testing.assert_array_equal(params['params']['sensory_erev'], wiring.inputs)


def test_ltc_starts_in_the_published_ranges():
  model = ltc.LTC(num_outputs=1, units=19, sparsity_level=0.75)  # that of lane keeping
  params = model.init(jax.random.key(3), jnp.zeros((1, 2, 50)), train=False)['params']
  for name, (low, high) in (ltc.RANGES | ltc.SYNAPSE_RANGES).items():
    assert np.all((params[name] >= low) & (params[name] < high)), name
    assert np.ptp(params[name]) > 0.5 * (high - low), name
  assert params['sensory_w'].shape == (50, 19)


def test_ltc_is_the_solution_of_its_equation(golden):
  """Ever finer implicit steps go to the same potentials as tiny explicit ones."""
  params = {n.removeprefix('param/'): v for n, v in golden.items() if n.startswith('param/')}
  wiring = ltc.Wiring(golden['adjacency'], golden['sensory_adjacency'])
  x, steps = golden['x'][:, 3], 20_000
  v = np.zeros((2, 8))

  def softplus(p):
    return np.log1p(np.exp(p.astype(np.float64)))

  def synapses(prefix, v):
    p = {k: params[f'{prefix}{k}'].astype(np.float64) for k in ('w', 'mu', 'sigma', 'erev')}
    s = softplus(p['w']) / (1 + np.exp(-p['sigma'] * (v[:, :, None] - p['mu'])))
    return s * np.abs(params[f'{prefix}sparsity_mask']), p['erev']

  sensory, sensory_erev = synapses('sensory_', x)
  for _ in range(steps):
    s, erev = synapses('', v)
    slope = softplus(params['gleak']) * (params['vleak'] - v)
    slope += np.sum(s * (erev - v[:, None]), 1) + np.sum(sensory * (sensory_erev - v[:, None]), 1)
    v = v + slope / softplus(params['cm']) / steps
  start = jnp.zeros((2, 8))
  step = jax.jit(ltc.ltc_step, static_argnames='unfolds')
  errors = [np.abs(step(params, wiring, start, x, unfolds=n) - v).max() for n in (6, 60)]
  assert errors[1] < 0.01
  assert errors[1] < 0.2 * errors[0]


def test_lstm_has_the_textbooks_parameters_and_is_causal(rng):
  model, inputs = LSTM(num_outputs=2, features=64), jnp.asarray(rng.normal(size=(3, 7, 50)))
  variables = model.init(jax.random.key(0), inputs, train=False)
  # Four gates of 64 units, each of input, state and one bias; and the head.
  assert sum(x.size for x in jax.tree.leaves(variables)) == 4 * 64 * (50 + 64 + 1) + 65 * 2
  before = model.apply(variables, inputs, train=False)
  after = model.apply(variables, inputs.at[:, 4].add(1.0), train=False)
  np.testing.assert_array_equal(after[:, :4], before[:, :4])
  assert np.all(after[:, 4:] != before[:, 4:])
  assert 'head' in variables['params']


def linear_field(matrix):
  """Parameters of a NeuralODE without hidden layers: dy/dt = y A."""
  kernel = jnp.concatenate([jnp.asarray(matrix), jnp.zeros((1, 2))])  # the last row: time
  return {'params': {'field': {'head': {'kernel': kernel, 'bias': jnp.zeros(2)}}}}


def test_a_neural_ode_solves_its_equation():
  model, times = NeuralODE(features=(), rtol=1e-5), jnp.linspace(0.0, 2.0, 9)
  start = jnp.array([[1.5, -0.7], [0.2, 1.0]])
  rotation, angle = linear_field([[0.0, 3.0], [-3.0, 0.0]]), 3.0 * np.asarray(times)

  def final(rate):
    variables = jax.tree.map(lambda x: x * rate, rotation)
    return model.apply(variables, start, times)

  def moved(rate):
    return final(rate)[0, -1, 0]

  turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
  solved, grad = jax.jit(lambda rate: (final(rate), jax.grad(moved)(rate)))(1.0)
  np.testing.assert_allclose(solved, np.einsum('bi,ijt->btj', start, turned), atol=1e-3)
  # d/drate of the last point is its velocity times the time.
  velocity = np.asarray(start[0]) @ turned[:, :, -1] @ np.array([[0.0, 3.0], [-3.0, 0.0]])
  np.testing.assert_allclose(grad, 2.0 * velocity[0], rtol=1e-2)


def test_a_neural_ode_that_explodes_is_infinite_and_not_an_error():
  model, times = NeuralODE(features=(), max_steps=16), jnp.linspace(0.0, 2.0, 3)
  apply, field = jax.jit(model.apply), linear_field([[500.0, 0.0], [0.0, 500.0]])
  lost = apply(field, jnp.ones((1, 2)), times)
  assert not np.all(np.isfinite(lost))


def test_what_a_user_can_mend(monkeypatch):
  with pytest.raises(l2o.InputError, match='no wiring of 4 neurons with 4 outputs'):
    ltc.ncp_wiring(3, 4, 4)
  monkeypatch.setitem(sys.modules, 'ncps.wirings', None)
  with pytest.raises(l2o.InputError, match=r"needs ncps: pip install 'l2o\[models\]'"):
    ltc.ncp_wiring(3, 8, 1)

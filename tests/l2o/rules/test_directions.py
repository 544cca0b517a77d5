"""Base optimizers as directions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l2o.errors import InputError
from l2o.rules.l3rs.directions import direction


def run(bound, gradients, params):
  """The direction after some gradients."""
  state = bound.init(params)
  for g in gradients:
    source, state = bound.advance(g, state, params, 1.0)
  return jax.tree.map(jnp.negative, bound.emit(source))


def test_sgd_is_minus_the_gradient():
  sgd = direction('sgd')
  assert sgd.init() == {}
  g = jnp.array([2.0, -3.0])
  np.testing.assert_array_equal(run(sgd.bind({}), [g], g), -g)


def test_adam_at_zero_hyper_parameters_is_optax_adam(rng):
  adam, theirs = direction('adam'), optax.adam(1.0)
  w = jnp.asarray(rng.normal(size=4), jnp.float32)
  state, gradients = theirs.init(w), []
  for _ in range(5):
    gradients.append(jnp.asarray(rng.normal(1.0, 2.0, size=4), jnp.float32))
    expected, state = theirs.update(gradients[-1], state, w)
    np.testing.assert_allclose(run(adam.bind(adam.init()), gradients, w), expected, rtol=1e-5)


def test_adams_epsilon_stands_inside_the_root():
  adam = direction({'name': 'adam', 'eps': 0.5, 'learnable': ()})
  g = jnp.array([0.3, -2.0, 0.0])
  np.testing.assert_allclose(run(adam.bind({}), [g], g), -g / np.sqrt(g**2 + 0.25), rtol=1e-5)


def test_a_learned_beta_moves_the_logit():
  adam = direction({'name': 'adam', 'b1': 0.8, 'learnable': ('b1',)})
  b1 = 1 / (1 + np.exp(-(np.log(0.8 / 0.2) + 0.7)))
  g = [jnp.array([1.0]), jnp.array([-3.0])]
  update = run(adam.bind({'b1': jnp.float32(0.7)}), g, jnp.zeros(1))
  m = (b1 * (1 - b1) * 1.0 + (1 - b1) * -3.0) / (1 - b1**2)
  v = (0.999 * 0.001 * 1.0 + 0.001 * 9.0) / (1 - 0.999**2)
  np.testing.assert_allclose(update, [-m / (np.sqrt(v) + 1e-8)], rtol=1e-4)


@pytest.mark.parametrize('offset', [-8.0, 8.0])
def test_far_from_the_default_a_learned_beta_is_still_a_fraction(offset):
  bound = direction('adam').bind({'b1': jnp.float32(offset), 'b2': jnp.float32(-offset)})
  update = run(bound, [jnp.array([0.3])], jnp.array([1.0]))
  np.testing.assert_allclose(update, [-1.0], rtol=1e-2)  # any betas give the unit first step


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ('adamm', "no direction 'adamm'"),
    ({'name': 'adam', 'beta': 0.9}, "adam has no 'beta'"),
    ({'name': 'adamw', 'learnable': ('eps_root',)}, 'eps_root = 0.0 cannot be learned'),
    ({'name': 'muon', 'learnable': ('ns_steps',)}, 'ns_steps = 5 cannot be learned'),
    ({'name': 'adamw', 'learnable': ('nesterov',)}, 'nesterov = False cannot be learned'),
    ({'name': 'rmsprop', 'learnable': ('centered',)}, 'cannot be learned'),
    ({'name': 'lbfgs'}, 'lbfgs cannot be used: .*value_fn'),
    ({'name': 'sgd', 'learning_rate': 0.1}, 'sgd has no learning_rate'),
    ({'name': '_deprecated_dpsgd'}, 'no direction'),
    ({'name': 'sgd', 'learnable': ('lr',)}, "sgd has no 'lr'"),
  ],
)
def test_a_wrong_direction_is_refused(spec, says):
  with pytest.raises(InputError, match=says):
    direction(spec)


@pytest.mark.parametrize(
  ('name', 'theirs'),
  [
    ('momentum', optax.sgd(1.0, momentum=0.9)),
    ('adamw', optax.adamw(1.0)),
    ('adamax', optax.adamax(1.0)),
    ('lion', optax.lion(1.0)),
    ('lamb', optax.lamb(1.0)),
    ('muon', optax.contrib.muon(1.0, consistent_rms=0.2)),
    ('adafactor', optax.adafactor(1.0)),
  ],
)
def test_any_optimizer_of_optax_is_its_update_at_learning_rate_1(name, theirs, rng):
  made = direction(name)
  params = {'w': jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), 'b': jnp.array([0.3, -2.0])}
  state, gradients = theirs.init(params), []
  for _ in range(3):
    drawn = {path: rng.normal(0.4, 1.0, w.shape) for path, w in params.items()}
    gradients.append({path: jnp.asarray(g, jnp.float32) for path, g in drawn.items()})
    expected, state = theirs.update(gradients[-1], state, params)
  got = run(made.bind(made.init()), gradients, params)
  for path in params:
    np.testing.assert_allclose(got[path], expected[path], rtol=1e-4, atol=1e-6)


def test_weight_decay_points_from_the_parameters_to_zero():
  params = {'w': jnp.array([2.0, -1.0])}
  update = run(direction('weight_decay').bind({}), [{'w': jnp.array([9.0, 9.0])}], params)
  np.testing.assert_array_equal(update['w'], [-2.0, 1.0])


@pytest.mark.parametrize(
  ('start', 'offset', 'moved'), [(2.0, 0.5, 2 * np.exp(0.5)), (0.5, 0.0, 0.5)]
)
def test_a_hyper_parameter_above_one_is_moved_by_its_logarithm(start, offset, moved):
  yogi = direction({'name': 'yogi', 'eps': start, 'learnable': ('eps',)})
  theirs = optax.yogi(1.0, eps=moved)
  w, g = jnp.array([1.0, -3.0]), jnp.array([0.2, 5.0])
  expected, _ = theirs.update(g, theirs.init(w), w)
  np.testing.assert_allclose(run(yogi.bind({'eps': jnp.float32(offset)}), [g], w), expected, 1e-5)

"""Base optimizers as directions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l2o.directions import direction
from l2o.errors import InputError


def test_sgd_is_minus_the_gradient():
  sgd = direction('sgd')
  assert sgd.init() == {}
  tx = sgd.bind({})
  g = jnp.array([2.0, -3.0])
  np.testing.assert_array_equal(tx.update(g, tx.init(g), g)[0], -g)


def test_adam_at_zero_hyper_parameters_is_optax_adam(rng):
  adam = direction('adam')
  ours, theirs = adam.bind(adam.init()), optax.adam(1.0)
  w = jnp.asarray(rng.normal(size=4), jnp.float32)
  a, b = ours.init(w), theirs.init(w)
  for _ in range(5):
    g = jnp.asarray(rng.normal(1.0, 2.0, size=4), jnp.float32)
    (u, a), (v, b) = ours.update(g, a, w), theirs.update(g, b, w)
    np.testing.assert_allclose(u, v, rtol=1e-5)


def test_a_learned_beta_moves_the_logit():
  adam = direction({'name': 'adam', 'b1': 0.8, 'learnable': ('b1',)})
  offset = jnp.float32(0.7)
  tx = adam.bind({'b1': offset})
  b1 = 1 / (1 + np.exp(-(np.log(0.8 / 0.2) + 0.7)))
  g = [jnp.array([1.0]), jnp.array([-3.0])]
  w = jnp.zeros(1)
  state = tx.init(w)
  for gradient in g:
    update, state = tx.update(gradient, state, w)
  m = (b1 * (1 - b1) * 1.0 + (1 - b1) * -3.0) / (1 - b1**2)
  v = (0.999 * 0.001 * 1.0 + 0.001 * 9.0) / (1 - 0.999**2)
  np.testing.assert_allclose(update, [-m / (np.sqrt(v) + 1e-8)], rtol=1e-4)


@pytest.mark.parametrize('offset', [-8.0, 8.0])
def test_far_from_the_default_a_learned_beta_is_still_a_fraction(offset):
  adam = direction('adam')
  tx = adam.bind({'b1': jnp.float32(offset), 'b2': jnp.float32(-offset)})
  update, _ = jax.jit(tx.update)(jnp.array([0.3]), tx.init(jnp.array([1.0])), jnp.array([1.0]))
  np.testing.assert_allclose(update, [-1.0], rtol=1e-2)  # any betas give the unit first step


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ('adamm', "no direction 'adamm'"),
    ({'name': 'adam', 'beta': 0.9}, "adam has no 'beta'"),
    ({'name': 'adam', 'learnable': ('eps_root',)}, 'eps_root = 0.0 cannot be learned'),
    ({'name': 'sgd', 'learnable': ('lr',)}, "sgd has no 'lr'"),
  ],
)
def test_a_wrong_direction_is_refused(spec, says):
  with pytest.raises(InputError, match=says):
    direction(spec)

"""Features against plain NumPy."""

import jax.numpy as jnp
import numpy as np

from l2o import trees
from l2o.rules.l3rs import features
from tests.problems import tree


def test_norms_of_every_rank_in_the_order_of_the_paths():
  params = tree()
  expected = {name: np.linalg.norm(np.ravel(leaf)) for name, leaf in params.items()}
  norms = trees.layer_norms(params)
  for path, norm in zip(trees.layer_paths(params), norms, strict=True):
    np.testing.assert_allclose(norm, expected[path], rtol=1e-6)


def test_norms_of_bfloat16_accumulate_in_float32():
  norm = trees.layer_norms({'w': jnp.ones(4096, jnp.bfloat16)})
  assert norm.dtype == jnp.float32
  np.testing.assert_allclose(norm, [64.0])


def test_norms_of_an_empty_tree():
  assert trees.layer_norms({}).shape == (0,)
  assert trees.layer_paths({}) == ()


def test_log_norm_is_finite_at_zero_and_the_logarithm_elsewhere():
  np.testing.assert_allclose(features.log_norm(jnp.array([0.0, 2.0])), np.log([1e-8, 2 + 1e-8]))


def test_moving_averages_over_steps_against_the_closed_form(rng):
  gammas = (0.0, 0.9, 0.99)
  observed = rng.normal(2.0, 1.0, (6, 4, 3)).astype(np.float32)  # [steps, layers, statistics]
  ema = jnp.zeros((4, 3, 3))
  for k, x in enumerate(observed, start=1):
    ema = features.ema_update(ema, jnp.asarray(x), gammas)
    corrected = features.ema_debias(ema, jnp.int32(k), gammas)
    for i, gamma in enumerate(gammas):
      weights = np.array([gamma ** (k - j) for j in range(1, k + 1)])
      expected = np.tensordot(weights / weights.sum(), observed[:k], axes=1)
      np.testing.assert_allclose(corrected[..., i], expected, rtol=2e-5)


def test_times_against_numpy():
  got = features.relative_time(jnp.int32(3), jnp.int32(7))
  np.testing.assert_allclose(got, np.tanh(10 * (3 / 7 - np.arange(11) / 10)), atol=1e-6)
  betas = (1e-4, 1e-3, 1e-2, 1e-1)
  got = features.absolute_time(jnp.int32(250), betas)
  np.testing.assert_allclose(got, np.tanh(np.log(250 * np.array(betas))), atol=1e-6)

"""NES against analytic answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from l2o.estimators import nes as module
from l2o.estimators.nes import centred_rank, nes, perturbation
from l2o.estimators.strategy import candidates, estimator
from l2o.inner.mapping import sequential, vectorized
from tests.problems import CENTRE, CURVATURE, quadratic_loss

THETA = {'w': jnp.array([0.3, 0.4, -1.0]), 's': jnp.float32(2.0)}


def objective(theta, tasks):
  """Quadratic in w, cubic-free in s, off-centre; `tasks` shifts it."""
  loss = quadratic_loss(theta['w']) + 0.5 * (theta['s'] - tasks) ** 2
  return {'loss': loss}


def gradient(strategy, loss=objective, theta=THETA, key=0, tasks=0.5, map_fn=vectorized):
  state = strategy.init(theta, jax.random.key(9))
  return estimator(strategy, loss, map_fn).estimate(theta, state, jax.random.key(key), tasks)


def test_without_shaping_it_is_the_gradient_of_a_quadratic_within_its_standard_error():
  runs = [gradient(nes(population=4000, sigma=0.1, shaping='none'), key=k)[0] for k in range(8)]
  true = {'w': CURVATURE @ (THETA['w'] - CENTRE), 's': 2.0 - 0.5}
  for name, expected in true.items():
    estimates = np.stack([run[name] for run in runs])
    error = estimates.std(axis=0, ddof=1) / np.sqrt(8)
    assert np.all(np.abs(estimates.mean(axis=0) - expected) < 4 * error)
    assert np.all(error < 0.05)


def test_one_pair_gives_the_directional_derivative_exactly():
  grad, _, _ = gradient(nes(population=2, sigma=0.1, shaping='none'))
  noise = perturbation(jax.random.key(0), THETA, jnp.int32(0))
  slope = noise['w'] @ (CURVATURE @ (THETA['w'] - CENTRE)) + noise['s'] * 1.5
  np.testing.assert_allclose(grad['w'], slope * noise['w'], rtol=1e-3)
  np.testing.assert_allclose(grad['s'], slope * noise['s'], rtol=1e-3)


def test_shaping_is_invariant_to_monotone_transforms_of_the_fitness():
  def warped(theta, tasks):
    return {'loss': jnp.exp(3.0 * objective(theta, tasks)['loss']) + 7.0}

  plain, _, _ = gradient(nes(population=64, sigma=0.02))
  other, _, _ = gradient(nes(population=64, sigma=0.02), warped)
  jax.tree.map(np.testing.assert_array_equal, plain, other)
  unshaped, _, _ = gradient(nes(population=64, sigma=0.02, shaping='none'), warped)
  assert not np.allclose(plain['w'], unshaped['w'])


def test_shaped_utilities_do_not_depend_on_the_order_of_candidates(rng):
  losses = np.array([3.0, 1.0, 1.0, np.inf, -2.0, np.nan, 1.0, 5.0], np.float32)
  order = rng.permutation(8)
  np.testing.assert_allclose(centred_rank(losses)[order], centred_rank(losses[order]))


def test_permuting_the_pairs_does_not_change_the_estimate(monkeypatch):
  order = jnp.array([2, 0, 3, 1])
  plain, _, _ = gradient(nes(population=8))
  monkeypatch.setattr(
    module, 'perturbation', lambda key, theta, pair: perturbation(key, theta, order[pair])
  )
  permuted, _, _ = gradient(nes(population=8))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain, permuted)


def test_ranks_by_hand():
  np.testing.assert_allclose(centred_rank(jnp.array([10.0, -1.0, 3.0])), [0.5, -0.5, 0.0])
  np.testing.assert_allclose(centred_rank(jnp.array([1.0, 1.0])), [0.0, 0.0])
  np.testing.assert_allclose(centred_rank(jnp.array([jnp.nan, 2.0, jnp.inf])), [0.25, -0.5, 0.25])


def test_all_candidates_see_the_same_tasks():
  """A loss that is noise drawn from the tasks alone ties all candidates: no gradient."""

  def only_tasks(theta, key):
    return {'loss': jax.random.normal(key, ()) + 0.0 * theta['s']}

  for shaping in ('centred_rank', 'none'):
    grad, _, _ = gradient(nes(population=16, shaping=shaping), only_tasks, tasks=jax.random.key(5))
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 0.0, atol=1e-5), grad)


def test_sigma_halves_every_500_generations_exactly():
  halving = estimator(nes(population=2, sigma=0.08, sigma_halves_every=500), objective)
  state = halving.init(THETA, jax.random.key(0))
  for generation, expected in ((0, 0.08), (250, 0.08 * 0.5**0.5), (500, 0.04), (1000, 0.02)):
    at = state._replace(generation=jnp.int32(generation))
    _, after, metrics = halving.estimate(THETA, at, jax.random.key(1), 0.5)
    np.testing.assert_allclose(metrics['sigma'], expected, rtol=1e-6)
    assert int(after.generation) == generation + 1


def test_candidates_without_a_finite_loss_rank_last_and_are_counted():
  def cliff(theta, tasks):
    loss = objective(theta, tasks)['loss']
    return {'loss': jnp.where(theta['s'] > 2.0, jnp.nan, loss)}

  grad, _, metrics = gradient(nes(population=32), cliff)
  assert int(metrics['nonfinite']) == 16  # of each pair, one is on the far side
  assert np.isfinite(metrics['loss'])
  assert grad['s'] > 0  # descending leads away from the cliff
  assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grad))


@pytest.mark.parametrize('shaping', ['centred_rank', 'none'])
def test_a_generation_without_a_finite_loss_has_no_gradient(shaping):
  def lost(theta, tasks):
    return {'loss': jnp.nan * theta['s']}

  grad, _, metrics = gradient(nes(population=4, shaping=shaping), lost)
  assert int(metrics['nonfinite']) == 4
  jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0.0), grad)


def test_candidates_one_after_another_give_the_same_estimate():
  a, _, _ = gradient(nes(population=8))
  b, _, _ = gradient(nes(population=8), map_fn=sequential)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_asking_and_telling_by_hand_gives_the_same_estimate():
  strategy, key = nes(population=8), jax.random.key(0)
  state = strategy.init(THETA, jax.random.key(9))
  thetas = candidates(strategy, THETA, state, key)
  metrics = jax.vmap(lambda theta: objective(theta, 0.5))(thetas)
  told = strategy.tell(THETA, state, key, metrics)
  jax.tree.map(np.testing.assert_array_equal, told, gradient(strategy))
  assert len(np.unique(thetas['s'])) == 8


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    ({'population': 31}, 'population must be even and at least 2, not 31'),
    ({'population': 0}, 'population must be .*at least 2, not 0'),
    ({'sigma': 0.0}, 'sigma must be .*above 0, not 0.0'),
    ({'shaping': 'rank'}, 'choose from centred_rank, none'),
  ],
)
def test_wrong_arguments_are_refused(arguments, says):
  with pytest.raises(InputError, match=says):
    nes(**arguments)

"""The function to minimize against NumPy, and regression against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from l2o.models.mlp import MLP
from l2o.tasks.function import function, waves
from l2o.tasks.regression import regression
from tests.problems import quadratic_loss


@pytest.mark.parametrize('x', [[1.0, -2.0, 0.5], [1e-3, 5e-4, -2e-3], [30.0, -40.0, 20.0]])
def test_waves_are_the_papers(x):
  s = np.abs(x).sum()
  wanted = s * (1 + 0.01 * s + np.cos(1 / s))
  value, slope = jax.value_and_grad(waves)(jnp.array(x))
  np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5 * s)  # 1 + cos cancels
  along = 1 + 0.02 * s + np.cos(1 / s) + np.sin(1 / s) / s
  np.testing.assert_allclose(slope, along * np.sign(x), rtol=2e-3, atol=1e-3 / s)


def test_waves_have_a_gradient_at_the_minimum():
  value, slope = jax.value_and_grad(waves)(jnp.zeros(4))
  assert value == 0
  assert np.all(np.isfinite(slope))


def test_a_function_starts_at_random_and_shows_its_path():
  task = function(dimension=500, spread=2.0)
  x, state = task.init(jax.random.key(0))
  assert np.std(x['x']) == pytest.approx(2.0, rel=0.1)
  assert np.any(x['x'] != task.init(jax.random.key(1))[0]['x'])
  loss, (_, seen) = task.loss(x, state, jax.random.key(2), {})
  assert loss == task.evaluate(x, state, {})['loss'] == waves(x['x'])
  assert (seen['x_1'], seen['x_2']) == (x['x'][0], x['x'][1])
  assert task.init(jax.random.key(1), ('given', 'state')) == ('given', 'state')
  with pytest.raises(InputError, match='dimension must be at least 2, not 1'):
    function(dimension=1)


class Affine(MLP):
  """Takes its input by another name, as regression models do."""

  def __call__(self, coordinates, train):
    return super().__call__(coordinates[:, None, None, :], train)


def test_regression_is_the_mean_square_in_the_units_asked_for(rng):
  batch = {'coordinates': rng.normal(size=(6, 3)), 'target': rng.normal(1.0, 1.0, (6, 2))}
  batch = {name: jnp.asarray(x, jnp.float32) for name, x in batch.items()}
  task = regression(Affine(num_classes=2, features=(4,)), batch, scale=57.3, peak=3.0)
  params, state = task.init(jax.random.key(0))
  loss, _ = task.loss(params, state, jax.random.key(1), batch)
  output = Affine(num_classes=2, features=(4,)).apply(
    {'params': params}, batch['coordinates'], False
  )
  wanted = np.mean((np.asarray(output) - np.asarray(batch['target'])) ** 2)
  np.testing.assert_allclose(loss, wanted, rtol=1e-6)
  measured = task.evaluate(params, state, batch)
  np.testing.assert_allclose(measured['mse'], 57.3**2 * wanted, rtol=1e-5)
  np.testing.assert_allclose(measured['psnr'], 10 * np.log10(9 / wanted), rtol=1e-5)
  assert sorted(
    regression(Affine(num_classes=2, features=(4,)), batch).evaluate(params, state, batch)
  ) == ['loss']
  with pytest.raises(InputError, match=r'returns \(6, 2\) for a target of shape \(6, 1\)'):
    task.evaluate(params, state, batch | {'target': batch['target'][:, :1]})
  grads = jax.grad(lambda p: task.loss(p, state, jax.random.key(1), batch)[0])(params)
  assert all(np.any(g != 0) for g in jax.tree.leaves(grads))


def test_regression_in_parts_is_the_same_and_needs_examples(rng):
  batch = {'coordinates': rng.normal(size=(7, 3)), 'target': rng.normal(1.0, 1.0, (7, 2))}
  batch = {name: jnp.asarray(x, jnp.float32) for name, x in batch.items()}
  whole, parts = (
    regression(Affine(num_classes=2, features=(4,)), batch, peak=3.0, evaluated_at_once=size)
    for size in (0, 3)
  )
  params, state = whole.init(jax.random.key(0))
  for name, value in whole.evaluate(params, state, batch).items():
    np.testing.assert_allclose(parts.evaluate(params, state, batch)[name], value, rtol=1e-6)
  with pytest.raises(InputError, match=r'must be 0 for inputs .*: coordinates 7, times 2'):
    parts.evaluate(params, state, batch | {'times': jnp.zeros(2)})


def test_the_quadratic_of_the_tests_is_not_symmetric():
  w = jnp.array([0.3, -1.0, 2.0])
  assert quadratic_loss(w) != quadratic_loss(-w)

"""Means and variances of all estimators, against closed forms, at fixed seeds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.estimators import ONLINE
from l2o.estimators.full_es import full_es
from l2o.estimators.strategy import estimator
from l2o.registry import resolve
from tests.l2o.estimators import closed_forms
from tests.l2o.estimators.closed_forms import PROBLEMS, gradient, moments, truncated_gradient

COUNT = 20_000  # independent particles
SIGMA = 0.3
PERIODS = {'A': 4, 'B': 4, 'C': 3, 'D': 4}
NOISY = ('nres', 'gpes', 'pes', 'truncated_es')
slow = partial(pytest.param, marks=pytest.mark.slow)
# The quadratic has two thetas that matter differently, C a window that does not divide its horizon.
POLICIES = [('A', 'cut'), ('B', 'cut'), ('C', 'cut'), ('C', 'roll')]

# Of the same formulas, computed by other code: (mean, of a cycle, of a window).
RECORDED = {
  ('A', 'cut', 'nres'): ((15.1667, 44.3333), 6586.42, 13866.19),
  ('A', 'cut', 'gpes'): ((15.1667, 44.3333), 5576.14, 14047.86),
  ('A', 'cut', 'pes'): ((15.1667, 44.3333), 5756.14, 14834.69),
  ('A', 'cut', 'truncated_es'): ((5.5, 22.5), 844.50, 2841.50),
  ('B', 'cut', 'nres'): ((22.7350, -18.5623), 2584.32, 3598.87),
  ('B', 'cut', 'gpes'): ((22.7350, -18.5623), 2386.73, 4011.12),
  ('B', 'cut', 'pes'): ((22.7350, -18.5623), 2097.48, 3764.91),
  ('B', 'cut', 'truncated_es'): ((10.2349, -5.5138), 139.29, 421.99),
  ('C', 'cut', 'nres'): ((20,), 800.00, 1166.00),
  ('C', 'cut', 'gpes'): ((20,), 698.88, 1200.35),
  ('C', 'cut', 'pes'): ((20,), 698.88, 1200.35),
  ('C', 'cut', 'truncated_es'): ((7.5714,), 51.80, 175.76),
  ('C', 'roll', 'nres'): ((20,), 266.67, 1097.05),
  ('C', 'roll', 'gpes'): ((20,), 232.96, 1068.08),
  ('C', 'roll', 'pes'): ((20,), 247.97, 1151.40),
  ('C', 'roll', 'truncated_es'): ((7.7619,), 19.61, 145.71),
}


def build(name, problem, **more):
  """An online estimator of one particle."""
  if name == 'gpes':
    more.setdefault('period', PERIODS[problem_name(problem)])
  if name != 'reverse_mode':
    more.setdefault('sigma', SIGMA)
  more.setdefault('window', problem.window)
  return resolve(ONLINE, name)(problem.unroll, particles=1, **more)


def problem_name(problem):
  return next(name for name, known in PROBLEMS.items() if known is problem)


def estimates(online, problem, windows, count=COUNT, seed=1):
  """Consecutive estimates [count, windows, P] of independent particles from their first window."""
  theta, tasks = jnp.asarray(problem.theta), problem.tasks

  def one(key):
    def window(state, number):
      grad, state, _ = online.estimate(theta, state, jax.random.fold_in(key, number), tasks)
      return state, grad

    return jax.lax.scan(window, online.init(theta, key, tasks), jnp.arange(windows))[1]

  keys = jax.random.split(jax.random.key(seed), count)
  return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def assert_mean(samples, expected, errors=4.0):
  """The mean over the first axis is within some standard errors of what it should be."""
  error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
  assert np.all(np.abs(samples.mean(axis=0) - expected) < errors * error)


def assert_trace(samples, expected, within=0.1):
  np.testing.assert_allclose(samples.var(axis=0, ddof=1).sum(), expected, rtol=within)


@pytest.mark.parametrize(('problem', 'policy', 'name'), RECORDED)
def test_the_formula_gives_the_recorded_numbers(problem, policy, name):
  known = moments(name, PROBLEMS[problem], policy, PERIODS[problem] if name == 'gpes' else None)
  mean, cycle, window = RECORDED[problem, policy, name]
  np.testing.assert_allclose(known.mean, mean, atol=5.1e-5)
  np.testing.assert_allclose([known.cycle, known.window], [cycle, window], atol=5.1e-3)
  if name != 'truncated_es':
    np.testing.assert_allclose(known.mean, gradient(PROBLEMS[problem]), rtol=1e-12)


@pytest.mark.parametrize(('problem', 'policy'), POLICIES)
@pytest.mark.parametrize('name', NOISY)
def test_an_online_estimators_moments(name, problem, policy):
  problem, period = PROBLEMS[problem], PERIODS[problem] if name == 'gpes' else None
  known = moments(name, problem, policy, period)
  online = build(name, problem, policy=policy, stagger=False)
  # The second cycle: what is left of the first episodes would show.
  seen = estimates(online, problem, 2 * known.windows)[:, known.windows :]
  assert_mean(seen.mean(axis=1), known.mean)
  assert_trace(seen.mean(axis=1), known.cycle)
  assert_trace(seen.reshape(-1, seen.shape[-1]), known.window)


@pytest.mark.parametrize(
  ('problem', 'policy', 'period'), [('A', 'cut', 3), slow('B', 'cut', 1), ('C', 'roll', 2)]
)
def test_a_perturbation_may_begin_within_a_window(problem, policy, period):
  problem = PROBLEMS[problem]
  known = moments('gpes', problem, policy, period)
  online = build('gpes', problem, policy=policy, period=period, stagger=False)
  seen = estimates(online, problem, known.windows)
  assert_mean(seen.mean(axis=1), known.mean)
  assert_trace(seen.mean(axis=1), known.cycle)
  assert_trace(seen.reshape(-1, seen.shape[-1]), known.window)


@pytest.mark.parametrize(
  ('name', 'problem', 'policy'),
  [(name, 'C', 'roll') for name in NOISY]
  + [('gpes', 'C', 'cut'), *(slow(name, 'C', 'cut') for name in NOISY if name != 'gpes')],
)
def test_particles_at_staggered_starts_are_unbiased_in_a_single_window(name, problem, policy):
  problem, period = PROBLEMS[problem], PERIODS[problem] if name == 'gpes' else None
  known = moments(name, problem, policy, period)
  # Before this window every particle has ended its first episode, which may be short.
  number = -(-problem.horizon // problem.window)
  seen = estimates(build(name, problem, policy=policy), problem, number + 1)[:, number]
  assert_mean(seen, known.mean)
  assert_trace(seen, known.window)


@pytest.mark.parametrize('problem', 'AB')
def test_full_evolution_strategies_moments(problem):
  problem = PROBLEMS[problem]
  true = gradient(problem)
  seen = full_estimates(problem, full_es(population=2, sigma=SIGMA))
  assert_mean(seen, true)
  # Of one pair and a quadratic: |g|^2 I + g g^T.
  assert_trace(seen, (len(true) + 1) * np.sum(true**2))


def full_estimates(problem, strategy):
  online, tasks = problem.unroll, problem.tasks

  def mean_loss(theta, key):
    def step(state, number):
      return online.step(theta, state, number, key, tasks)

    steps = jnp.arange(problem.horizon)
    return {'loss': jnp.mean(jax.lax.scan(step, online.init(theta, key, tasks), steps)[1])}

  es, theta = estimator(strategy, mean_loss), jnp.asarray(problem.theta)
  state = es.init(theta, jax.random.key(0))
  keys = jax.random.split(jax.random.key(2), COUNT)
  one = jax.jit(jax.vmap(lambda key: es.estimate(theta, state, key, key)[0]))
  return np.asarray(one(keys), np.float64)


@pytest.mark.parametrize(('problem', 'policy'), POLICIES)
def test_reverse_mode_is_exact(problem, policy):
  problem = PROBLEMS[problem]
  whole = build('reverse_mode', problem, window=None, max_steps=problem.horizon + 3)
  np.testing.assert_allclose(
    estimates(whole, problem, 2, count=1)[0], [gradient(problem)] * 2, rtol=1e-5
  )
  cycle = moments('truncated_es', problem, policy).windows
  windows = build('reverse_mode', problem, policy=policy, stagger=False)
  seen = estimates(windows, problem, cycle, count=1)[0]
  np.testing.assert_allclose(seen.mean(axis=0), truncated_gradient(problem, policy), rtol=1e-5)


def test_each_estimator_is_right_for_its_own_objective():
  """D: 3 T^2 theta^2 with the variance of theta at the last step added, sigma^2 or a third."""
  problem, sigma = PROBLEMS['D'], 0.5
  online = partial(build, problem=problem, stagger=False, sigma=sigma)
  for objective, scale in (('mean', 1.0), ('final', 6.0)):
    for name, expected in (('nres', 44.28), ('pes', 26.28)):
      seen = estimates(online(name, objective=objective), problem, 3, count=2 * COUNT)
      assert_mean(seen.mean(axis=1), scale * expected)
      assert seen.mean(axis=1).std() / np.sqrt(2 * COUNT) < 2 * scale  # tells the objectives apart
    whole = build('reverse_mode', problem, window=None, max_steps=6, objective=objective)
    np.testing.assert_allclose(estimates(whole, problem, 1, 1), scale * 17.28, rtol=1e-5)
  assert_mean(full_estimates(problem, full_es(population=2, sigma=sigma)), 44.28)


@pytest.mark.parametrize('name', [slow('nres'), 'pes', 'gpes'])
def test_the_last_loss_of_an_episode_belongs_to_all_of_its_perturbations(name):
  """B: 'final' sees that loss alone, whose gradient is mostly through the windows before."""
  problem = PROBLEMS['B']
  last = problem.slopes[-1].sum(axis=0)
  seen = estimates(build(name, problem, objective='final', stagger=False), problem, 3)
  assert np.all(seen[:, :2] == 0.0)
  assert_mean(seen.mean(axis=1), last)
  assert_trace(seen[:, 2] / 3, moments_of_the_last(name, problem, last))


def moments_of_the_last(name, problem, last):
  """The trace of the covariance of Delta_T xi_T, by the formula of `closed_forms`."""
  period = PERIODS['B'] if name == 'gpes' else None
  force, a = closed_forms.perturbations(name, problem, 'cut', period)
  G = np.array([problem.slopes[-1][force == n].sum(axis=0) for n in range(a.shape[1])])
  return len(last) * a.shape[1] * np.sum(G**2) + np.sum(last**2)


@pytest.mark.parametrize('name', [slow('nres'), 'pes'])
def test_the_loss_at_the_ends_of_windows(name):
  problem = PROBLEMS['A']  # evaluates 6 s + 5 at any time
  expected = np.mean([6.0 * np.array([t, t * (t + 1) / 2]) for t in (2, 4, 6)], axis=0)
  seen = estimates(build(name, problem, objective='window_end', stagger=False), problem, 3)
  assert_mean(seen.mean(axis=1), expected)
  exact = build('reverse_mode', problem, window=None, max_steps=6, objective='window_end')
  np.testing.assert_allclose(estimates(exact, problem, 1, 1)[0, 0], [36.0, 126.0], rtol=1e-5)

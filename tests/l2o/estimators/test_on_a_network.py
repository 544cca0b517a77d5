"""Estimators on the training of a small MLP by a rule with eight meta-parameters."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from l2o.errors import InputError
from l2o.estimators import ONLINE
from l2o.estimators.full_es import full_es
from l2o.estimators.reverse_mode import reverse_mode
from l2o.estimators.strategy import estimator
from l2o.inner.rollout import meta_loss
from l2o.inner.unroll import unroll
from l2o.registry import build
from tests.l2o.estimators import small_mlp

HORIZON, WINDOW = 6, 2
COUNT = 1000


@pytest.fixture(scope='module')
def problem():
  return small_mlp.problem(HORIZON, longest=9)


@cache
def whole(rule, task, objective):
  """Compiled once for all horizons."""
  online = reverse_mode(unroll(rule, task), max_steps=9, objective=objective)

  @jax.jit
  def gradient(theta, key, tasks):
    return online.estimate(theta, online.init(theta, key, tasks), key, tasks)[0]

  return gradient


def exact(problem, objective='mean', tasks=None):
  rule, task, theta, given = problem
  tasks = given if tasks is None else tasks
  return whole(rule, task, objective)(theta, jax.random.key(0), tasks)


def gradient_of_the_rollout(problem, objective, horizon=HORIZON):
  """By differentiating the fixed number of steps of `meta_loss` itself."""
  rule, task, theta, tasks = problem
  objective = meta_loss(rule, task, objective=objective)
  fixed = lambda theta: objective(theta, tasks._replace(num_steps=horizon))['loss']  # noqa: E731
  return jax.jit(jax.grad(fixed))(theta)


@pytest.mark.parametrize('objective', ['mean', pytest.param('final', marks=pytest.mark.slow)])
def test_reverse_mode_is_the_gradient_of_the_meta_loss(problem, objective):
  expected = gradient_of_the_rollout(problem, objective)
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), exact(problem, objective), expected)
  assert all(np.abs(leaf).min() > 1e-5 for leaf in jax.tree.leaves(expected))


def test_the_horizon_of_reverse_mode_is_traced(problem):
  tasks = problem[3]._replace(num_steps=jnp.int32(4))
  expected = gradient_of_the_rollout(problem, 'mean', horizon=4)
  grad = exact(problem, tasks=tasks)
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), grad, expected)


@pytest.mark.parametrize(
  'specs',
  [{'nres': {}, 'pes': {}}, {'gpes': {'period': 3}, 'truncated_es': {}}],
  ids=','.join,
)
def test_the_unbiased_ones_agree_with_reverse_mode(problem, specs):
  rule, task, theta, tasks = problem
  true = ravel_pytree(exact(problem))[0]
  biased = ravel_pytree(truncated(problem))[0]
  for name, more in specs.items():
    spec = {'name': name, 'particles': 1, 'window': WINDOW, 'sigma': 0.02, 'stagger': False}
    online = build(ONLINE, spec | more, 'estimator', unroll=unroll(rule, task))
    samples = estimates(online, theta, tasks)
    expected, other = (biased, true) if name == 'truncated_es' else (true, biased)
    assert within(samples, expected), name
    assert not within(samples, other), name


def test_full_es_agrees_with_reverse_mode(problem):
  rule, task, theta, tasks = problem
  es = estimator(full_es(population=2, sigma=0.02), meta_loss(rule, task, objective='mean'))
  state, keys = es.init(theta, jax.random.key(0)), jax.random.split(jax.random.key(1), COUNT)
  one = jax.jit(jax.vmap(lambda k: ravel_pytree(es.estimate(theta, state, k, tasks)[0])[0]))
  assert within(np.asarray(one(keys)), ravel_pytree(exact(problem))[0])


def truncated(problem):
  """The mean gradient of windows that do not see behind their start."""
  rule, task, theta, tasks = problem
  online = reverse_mode(unroll(rule, task), window=WINDOW, stagger=False)
  state, grads = online.init(theta, jax.random.key(0), tasks), []
  for number in range(HORIZON // WINDOW):
    grad, state, _ = jax.jit(online.estimate)(theta, state, jax.random.key(number), tasks)
    grads.append(grad)
  return jax.tree.map(lambda *g: sum(g) / len(g), *grads)


def estimates(online, theta, tasks):
  """Means over an episode's windows, of COUNT particles: [COUNT, P]."""

  def one(key):
    def step(state, number):
      grad, state, _ = online.estimate(theta, state, jax.random.fold_in(key, number), tasks)
      return state, ravel_pytree(grad)[0]

    start = online.init(theta, key, tasks)
    return jnp.mean(jax.lax.scan(step, start, jnp.arange(HORIZON // WINDOW))[1], axis=0)

  keys = jax.random.split(jax.random.key(5), COUNT)
  return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def within(samples, expected, errors=4.0):
  error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
  return bool(np.all(np.abs(samples.mean(axis=0) - expected) < errors * error))


def test_hundreds_of_steps_back_need_the_memory_of_few(problem):
  """What the compiler sets aside for 400 steps, with checkpoints and without."""
  rule, task, theta, _ = problem
  tasks = small_mlp.problem(400)[3]

  def bytes_for(steps, horizon):
    online = reverse_mode(unroll(rule, task), max_steps=steps)
    state = online.init(theta, jax.random.key(0), tasks)
    args = theta, state, jax.random.key(0), tasks._replace(num_steps=jnp.int32(horizon))
    compiled = jax.jit(online.estimate).lower(*args).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  few, many = bytes_for(25, 25), bytes_for(400, 400)
  assert many < 6 * few  # sqrt(400 / 25) = 4, not 16


def test_particles_take_their_episodes_from_all_that_are_given():
  rule, task, theta, tasks = small_mlp.problem(HORIZON, count=3)
  online = reverse_mode(unroll(rule, task), window=WINDOW, particles=30, stagger=False)
  state = online.init(theta, jax.random.key(0), tasks)
  estimate = jax.jit(online.estimate)
  _, state, _ = estimate(theta, state, jax.random.key(1), tasks)
  taken = state.runs.train['index'][:, 0]
  given = {leaf.tobytes() for leaf in np.asarray(tasks.episodes.train['index'])}
  assert {leaf.tobytes() for leaf in np.asarray(taken)} == given
  others = small_mlp.problem(HORIZON, count=3)[3]
  others = others._replace(episodes=jax.tree.map(lambda leaf: leaf[::-1], others.episodes))
  _, state, _ = estimate(theta, state, jax.random.key(2), others)
  np.testing.assert_array_equal(state.runs.train['index'][:, 0], taken)  # kept to the end


def test_an_unknown_objective_is_refused(problem):
  with pytest.raises(InputError, match="no meta-objective 'last'"):
    meta_loss(*problem[:2], objective='last')

"""The inner loop against a loop written out, and what it must not do: compile again."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.mapping import on_device, sequential, vectorized
from l2o.unroll import fetch, meta_loss, run_episode, unroll
from tests.problems import CENTRE, CURVATURE, quadratic_task, quadratic_tasks

SGD = l2o.rule('hand_designed', optimizer='sgd')
THETA = {'learning_rate': jnp.float32(0.1)}


def test_gradient_descent_against_numpy():
  tasks = quadratic_tasks(jax.random.key(2), count=1, num_steps=4)
  episode = jax.tree.map(lambda x: x[0], tasks.episodes)
  w = np.array(episode.params['w'], np.float64)
  for k in range(4):
    slope = np.mean(np.asarray(episode.train['slope'][k], np.float64))
    w -= 0.1 * (CURVATURE @ (w - CENTRE) + slope * np.array([1, 0, 0]))
  final, _ = unroll(quadratic_task(), SGD.bind(THETA, 4), episode, {}, tasks.num_steps)
  np.testing.assert_allclose(final.params['w'], w, rtol=1e-5)


def test_the_horizon_is_traced_one_program_for_all():
  tasks = quadratic_tasks(jax.random.key(0))
  rule = l2o.rule('l3rs')
  theta = rule.init(jax.random.key(1), {'w': jnp.ones(3)})
  measure = jax.jit(meta_loss(rule, quadratic_task()))
  losses = [
    float(measure(theta, tasks._replace(num_steps=jnp.int32(k)))['loss']) for k in (1, 3, 6)
  ]
  assert measure._cache_size() == 1
  assert len(set(losses)) == 3


def test_the_meta_loss_is_the_mean_of_what_evaluate_says_of_each_episode():
  tasks = quadratic_tasks(jax.random.key(3), count=3)
  task = quadratic_task()
  each = [
    run_episode(SGD, task, THETA, jax.tree.map(lambda x, i=i: x[i], tasks.episodes), tasks)['loss']
    for i in range(3)
  ]
  assert len({float(x) for x in each}) == 3
  np.testing.assert_allclose(meta_loss(SGD, task)(THETA, tasks)['loss'], np.mean(each), rtol=1e-6)


def test_records_hold_every_step_and_zeros_beyond_the_last():
  tasks = quadratic_tasks(jax.random.key(2), count=1, longest=6, num_steps=4)
  episode = jax.tree.map(lambda x: x[0], tasks.episodes)
  plain, none = unroll(quadratic_task(), SGD.bind(THETA, 4), episode, {}, tasks.num_steps)
  final, record = unroll(
    quadratic_task(),
    SGD.bind(THETA, 4),
    episode,
    {},
    tasks.num_steps,
    record=lambda state, metrics: {'w': state.params['w'], 'loss': metrics['loss']},
  )
  assert none is None
  np.testing.assert_array_equal(final.params['w'], plain.params['w'])
  np.testing.assert_array_equal(record['w'][3], final.params['w'])
  np.testing.assert_array_equal(record['w'][4:], 0.0)
  assert np.all(np.diff(record['loss'][:4]) < 0)


def test_each_step_has_a_key_and_a_batch_of_its_own():
  seen = []

  def loss(params, model_state, key, batch):
    noise = jax.random.normal(key, ()) + batch['slope'].sum()
    return params['w'] * noise, (model_state, {'noise': noise})

  task = quadratic_task()._replace(loss=loss)
  tasks = quadratic_tasks(jax.random.key(0), count=1)
  episode = jax.tree.map(lambda x: x[0], tasks.episodes)._replace(params={'w': jnp.float32(1.0)})
  _, seen = unroll(
    task, optax.with_extra_args_support(optax.sgd(0.0)), episode, {}, jnp.int32(6),
    record=lambda state, metrics: metrics['noise'],
  )  # fmt: skip
  assert len(set(np.asarray(seen).tolist())) == 6


def test_fetch_looks_up_positions_and_passes_batches_that_are_complete():
  store = {'image': jnp.arange(10).reshape(5, 2)}
  batch = {'index': jnp.array([4, 0]), 'label': jnp.array([1, 2])}
  got = fetch(store, batch)
  np.testing.assert_array_equal(got['image'], [[8, 9], [0, 1]])
  assert set(got) == {'image', 'label'}
  complete = {'image': jnp.ones((2, 2)), 'label': jnp.array([1, 2])}
  assert fetch({}, complete) is complete


def test_one_after_another_and_all_at_once_agree():
  xs = {'a': jnp.array([1.0, -2.0, 3.0])}
  a = vectorized(lambda x, shared: x['a'] * shared, xs, 2.0)
  b = sequential(lambda x, shared: x['a'] * shared, xs, 2.0)
  np.testing.assert_array_equal(a, b)
  assert on_device('auto') is sequential  # on a CPU
  with pytest.raises(l2o.InputError, match='auto, sequential, vectorized'):
    on_device('parallel')

"""The inner loop against a loop written out, and what it must not do: compile again."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import l2o
from l2o.inner.mapping import on_device, sequential, vectorized
from l2o.inner.rollout import meta_loss, rollout, run_episode, start_episodes
from l2o.inner.step import fetch
from l2o.tasks.classification import classification
from l2o.types import TaskBatch
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
  final, _ = rollout(quadratic_task(), SGD.bind(THETA, 4), episode, {}, tasks.num_steps)
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
  plain, none = rollout(quadratic_task(), SGD.bind(THETA, 4), episode, {}, tasks.num_steps)
  final, record = rollout(
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
  def loss(params, model_state, key, batch):
    seen = {'noise': jax.random.normal(key, ()), 'slope': batch['slope'][0]}
    return params['w'] * seen['noise'], (model_state, seen)

  task = quadratic_task()._replace(loss=loss)
  tasks = quadratic_tasks(jax.random.key(0), count=1)
  episode = jax.tree.map(lambda x: x[0], tasks.episodes)._replace(params={'w': jnp.float32(1.0)})
  still = optax.with_extra_args_support(optax.sgd(0.0))
  _, seen = rollout(task, still, episode, {}, jnp.int32(6), record=lambda state, metrics: metrics)
  assert len(set(np.asarray(seen['noise']).tolist())) == 6
  np.testing.assert_array_equal(seen['slope'], episode.train['slope'][:, 0])


class Normalised(nn.Module):
  """A network with statistics that training moves."""

  @nn.compact
  def __call__(self, images, train):
    x = images.reshape((images.shape[0], -1))
    x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(6)(x))
    return nn.Dense(3, name='head')(x)


def test_an_episode_of_a_network_with_statistics_against_a_loop_written_out(rng):
  task = classification(Normalised(), (4, 4, 1))
  pretrained = task.init(jax.random.key(5))
  pretrained = pretrained[0], jax.tree.map(lambda x: x + 0.5, pretrained[1])
  images = jnp.asarray(rng.integers(0, 256, (20, 4, 4, 1)), jnp.uint8)
  draw = {
    'train': {'index': rng.integers(0, 20, (2, 3, 5)), 'label': rng.integers(0, 3, (2, 3, 5))},
    'evaluation': {'index': rng.integers(0, 20, (2, 8)), 'label': rng.integers(0, 3, (2, 8))},
  }
  draw = jax.tree.map(jnp.asarray, draw)
  episodes = start_episodes(task, jax.random.key(0), pretrained, draw)
  stores = {'train': {'image': images}, 'evaluation': {'image': 255 - images}}
  tasks = TaskBatch(episodes, stores, jnp.int32(3))
  losses = []
  for t in range(2):
    params = {name: leaf for name, leaf in pretrained[0].items() if name != 'head'}
    params['head'] = jax.tree.map(lambda x, t=t: x[t], episodes.params['head'])
    state = pretrained[1]
    for k in range(3):
      index, label = draw['train']['index'][t, k], draw['train']['label'][t, k]
      batch = {'image': images[index], 'label': label}
      grads, (state, _) = jax.grad(task.loss, has_aux=True)(params, state, jax.random.key(0), batch)
      params = jax.tree.map(lambda w, g: w - 0.1 * g, params, grads)
    index, label = draw['evaluation']['index'][t], draw['evaluation']['label'][t]
    batch = {'image': 255 - images[index], 'label': label}
    losses.append(task.evaluate(params, state, batch)['loss'])
  got = meta_loss(SGD, task, sequential)(THETA, tasks)
  np.testing.assert_allclose(got['loss'], np.mean(losses), rtol=1e-4)
  assert abs(losses[0] - losses[1]) > 1e-3


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

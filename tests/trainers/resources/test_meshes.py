"""Meshes, and maps that give the same answer however many devices share the work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.errors import InputError
from l2o.estimators import strategy
from l2o.estimators.nes import nes
from l2o.inner.mapping import sequential, vectorized
from l2o.inner.rollout import meta_loss
from tests.problems import quadratic_task, quadratic_tasks
from trainers.processes import rounds, store
from trainers.resources import meshes


@pytest.mark.parametrize(
  ('spec', 'shape'),
  [
    ({'population': -1, 'data': 1}, (1, 8, 1, 1)),
    ({'population': -1, 'data': 2}, (1, 4, 2, 1)),
    ({'population': 1, 'data': -1}, (1, 1, 8, 1)),
  ],
)
def test_minus_one_takes_what_the_other_axis_leaves(spec, shape):
  assert dict(meshes.make_mesh(**spec).shape) == dict(zip(meshes.AXES, shape, strict=True))


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    (
      {'population': 5, 'data': 2},
      'train.mesh: population 5 x data 2 x model 1 needs 10 devices, but there are 8',
    ),
    ({'population': -1, 'data': -1}, 'cannot both be -1'),
    ({'population': 0}, 'must be -1 or at least 1'),
    ({'population': -1, 'data': 16}, 'mesh: data 16 x model 1 needs 16 devices, but there are 8'),
    ({'modle': 2}, "train.mesh has no 'modle'.*it takes population, data, model"),
  ],
)
def test_a_mesh_that_cannot_be_is_refused(spec, says):
  with pytest.raises(InputError, match=says):
    meshes.build_mesh(spec, 'train')


@pytest.mark.parametrize('on_device', [sequential, vectorized])
@pytest.mark.parametrize('count', [1, 4, 6, 7])
def test_any_number_of_things_is_spread_over_four_devices(on_device, count):
  map_fn = meshes.sharded_map(meshes.make_mesh(population=4), on_device)
  xs = {'a': jnp.arange(count, dtype=jnp.float32), 'b': jnp.ones((count, 2))}

  def fn(x, shared):
    return {'y': x['a'] * shared + x['b']}

  got = jax.jit(lambda xs: map_fn(fn, xs, 3.0))(xs)['y']
  np.testing.assert_array_equal(got, 3.0 * np.arange(count)[:, None] + np.ones((count, 2)))


@pytest.mark.parametrize('spec', [{'population': 4}, {'population': 2, 'data': 2}])
def test_a_meta_gradient_is_the_same_on_any_mesh(spec):
  """With data = 2 each inner batch lies on two devices; the tolerance is that of their sum."""
  mesh = meshes.make_mesh(**spec)
  task, rule = quadratic_task(), l2o.rule('l3rs')
  theta = rule.init(jax.random.key(0), {'w': jnp.ones(3)})
  tasks = quadratic_tasks(jax.random.key(1))
  slope = tasks.episodes.train['slope'][..., :4]  # a batch that two devices can share
  objective = meta_loss(rule, task)

  def estimate(map_fn, train):
    estimator = strategy.estimator(nes(population=8, shaping='none'), objective, map_fn)
    episodes = tasks.episodes._replace(train={'slope': train})
    there = tasks._replace(episodes=episodes)
    run = jax.jit(lambda t, b: estimator.estimate(t, estimator.init(t, None), jax.random.key(2), b))
    return run(theta, there)[0]

  alone = estimate(sequential, slope)
  spread = jax.device_put(slope, meshes.batch_sharding(mesh, axis=2))
  together = estimate(meshes.sharded_map(mesh, sequential), spread)
  scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(alone))
  assert scale > 0
  for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5 * scale)


def test_a_batch_that_cannot_be_split_evenly_is_refused():
  with pytest.raises(InputError, match=r'train\.mesh\.data = 4 does not divide a batch of 6'):
    meshes.build_mesh({'data': 4}, 'train', [8, 6])


def test_more_cpu_devices_after_the_first_computation_is_a_warning(caplog):
  meshes.set_cpu_devices(3)
  assert jax.device_count() == 8
  assert 'cpu_devices has no effect: JAX already runs on 8 CPU devices, not 3' in caplog.text


def test_in_an_elastic_round_each_process_keeps_its_share_of_the_devices(monkeypatch, caplog):
  monkeypatch.setattr(rounds, 'mine', lambda: rounds.Round(2, 'a', 1, count=2, index=0, hosts=4))
  monkeypatch.setattr(store, 'count', lambda: 2)
  meshes.set_cpu_devices(16)  # four for each, and eight are there
  assert not caplog.text
  with pytest.raises(InputError, match=r'cpu_devices = 6, .* divided among 4 processes'):
    meshes.set_cpu_devices(6)

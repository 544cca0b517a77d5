"""Meta-training from windows of inner problems that are kept: in the checkpoint, over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from tests.tiny_run import SGD, tiny
from trainers.harness.folder import Folder
from trainers.harness.stage import Options
from trainers.jobs import pipeline
from trainers.stages import estimation, meta_training

BLOCKS = {
  'pes': {'name': 'pes', 'particles': 4, 'window': 3},
  'nres': {'name': 'nres', 'particles': 2, 'window': 2},
  'gpes': {'name': 'gpes', 'particles': 2, 'window': 2, 'period': 4},
  'truncated_es': {'name': 'truncated_es', 'particles': 2, 'window': 2},
  'reverse_mode': {'name': 'reverse_mode', 'particles': 2},
  'reverse_mode of windows': {'name': 'reverse_mode', 'particles': 2, 'window': 2},
}
OPTIONS = Options(log_every_secs=60.0, checkpoint_every_secs=0.0, keep_checkpoints=9)


def plan(block, population=2, **overrides):
  config = tiny(**{
    'estimator': block,
    'rule': SGD,
    'meta_train.mesh': {'population': population, 'data': 1},
    'meta_train.min_steps': 4,
    'meta_train.max_steps': 7,
    **overrides,
  })  # fmt: skip
  return pipeline.build(config).meta_train


def network(built):
  return jax.jit(built.task.init)(jax.random.key(3))


def states(built, count):
  """The state after each of some generations."""
  advance, state, start = meta_training.generation(built), meta_training.init(built), network(built)
  found = []
  for number in range(count):
    inputs = meta_training.place(meta_training.draw(built, number), built.mesh)
    state, metrics = advance(state, inputs, start, built.stores)
    found.append((jax.tree.map(np.asarray, state), jax.tree.map(float, metrics)))
  return found


@pytest.fixture(scope='module')
def of_pes():
  return states(plan(BLOCKS['pes']), 3)


SLOW = ('nres', 'gpes', 'truncated_es', 'reverse_mode')  # built by what the others are


@pytest.mark.parametrize(
  'name', [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BLOCKS]
)
def test_theta_moves_and_particles_are_kept(name, of_pes):
  rule = {'name': 'l3rs'} if name == 'truncated_es' else SGD  # theta of many arrays, or of a number
  block, built = BLOCKS[name], plan(BLOCKS[name], rule=rule)
  first = jax.tree.map(np.asarray, meta_training.init(built).theta)
  found = of_pes if name == 'pes' else states(built, 3)
  state, metrics = found[-1]
  assert metrics['nonfinite'] == 0
  assert np.isfinite(metrics['loss'])
  moved = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (first, state.theta)), strict=True)]
  assert any(moved)
  steps = state.estimator.clock.step
  assert steps.shape == (block['particles'],)
  assert np.all(steps <= 7)
  assert np.all(state.estimator.clock.episode >= 1)


def test_particles_lie_on_the_devices_of_the_population_and_theta_on_all():
  state = meta_training.init(plan(BLOCKS['pes']))
  shares = {shard.data.shape[0] for shard in state.estimator.clock.step.addressable_shards}
  assert shares == {2}  # of four particles on two devices
  assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.theta))


def test_another_number_of_devices_gives_the_same(of_pes):
  one, two = states(plan(BLOCKS['pes'], population=1), 3)[-1][0], of_pes[-1][0]
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
  jax.tree.map(close, two.theta, one.theta)
  jax.tree.map(np.testing.assert_array_equal, two.estimator.clock, one.estimator.clock)


def test_a_run_that_ended_resumes_bit_for_bit(tmp_path):
  built = plan(BLOCKS['pes'], **{'meta_train.num_generations': 4})
  start = network(built)
  unbroken = meta_training.run(built, start, Folder(tmp_path / 'a'), OPTIONS)
  shorter = built._replace(spec=built.spec.__class__(**{**vars(built.spec), 'num_generations': 2}))
  meta_training.run(shorter, start, Folder(tmp_path / 'b'), OPTIONS)
  resumed = meta_training.run(built, start, Folder(tmp_path / 'b'), OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, resumed, unbroken)


def test_the_longest_horizon_is_that_of_whole_episodes():
  """Reverse mode without a window differentiates episodes of up to meta_train.max_steps."""
  found = states(plan(BLOCKS['reverse_mode'], **{'meta_train.min_steps': 7}), 2)
  assert [metrics['inner_steps'] for _, metrics in found] == [14, 14]


@pytest.mark.parametrize(
  ('name', 'steps'), [('pes', 4 * 2 * 3), ('reverse_mode of windows', 2 * 2)]
)
def test_a_plan_counts_the_steps_of_a_window(name, steps):
  built = plan(BLOCKS[name])
  parts = built.estimator, built.spec, built.task, built.rule, built.mesh
  assert estimation.inner_steps(*parts) == steps


def test_what_does_not_fit_is_refused_before_anything_is_written():
  with pytest.raises(
    InputError, match=r'population = 2 does not divide estimator\.particles = 3; change'
  ):
    plan({'name': 'pes', 'particles': 3})
  with pytest.raises(InputError, match='has no ask and tell, so the host cannot feed'):
    plan(BLOCKS['pes'], **{'feed.chunk_steps': 2})
  with pytest.raises(InputError, match=r'mesh\.data must be 1 with the estimator pes'):
    plan(BLOCKS['pes'], **{'meta_train.mesh': {'population': 1, 'data': 2}})
  with pytest.raises(InputError, match=r"pes has no 'population'"):
    plan({'name': 'pes', 'population': 4})
  with pytest.raises(InputError, match='did you mean'):
    plan({'name': 'pess'})


def test_a_lost_particle_starts_anew_and_the_rest_goes_on():
  built = plan(BLOCKS['pes'], **{'meta_train.min_steps': 7})
  advance, start = meta_training.generation(built), network(built)
  state = meta_training.init(built)
  for number in range(3):
    inputs = meta_training.place(meta_training.draw(built, number), built.mesh)
    if number == 1:
      clock = state.estimator.clock
      lost = int(jnp.argmax(clock.length - clock.step))  # in the midst of its episode
      runs = state.estimator.runs
      broken = jax.tree.map(lambda x, lost=lost: x.at[lost].set(jnp.nan), runs.inner.params)
      runs = runs._replace(inner=runs.inner._replace(params=broken))
      state = state._replace(estimator=state.estimator._replace(runs=runs))
    state, metrics = advance(state, inputs, start, built.stores)
    assert metrics['nonfinite'] == (2 if number == 1 else 0)
    assert np.isfinite(metrics['loss'])
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.theta))

"""What online estimators have in common, and where two of them are one."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from l2o.estimators import ONLINE, clock
from l2o.inner.mapping import sequential, vectorized
from l2o.registry import build
from l2o.types import TaskBatch, Unroll
from tests.l2o.estimators.closed_forms import PROBLEMS, gradient, truncated_gradient
from trainers.resources import meshes

SPECS = {
  'gpes': {'period': 3},
  'nres': {},
  'pes': {},
  'truncated_es': {},
  'reverse_mode': {},
  'whole': {'window': None, 'max_steps': 9},
}
# Of gpes, which nres and pes are with a period each, of truncated_es and of reverse_mode.
OF_GPES = ('nres', 'pes')
EACH_CODE = [pytest.param(n, marks=[pytest.mark.slow] * (n in OF_GPES)) for n in SPECS]
QUADRATIC = PROBLEMS['B']


@cache  # programs are compiled once for each estimator
def made(name, unroll=QUADRATIC.unroll, **more):
  spec = {'name': 'reverse_mode' if name == 'whole' else name, 'particles': 6, 'window': 2}
  spec |= SPECS[name] | more
  return build(ONLINE, spec, 'estimator', unroll=unroll)


@cache
def noisy():
  """The quadratic with noise of the step's key and a start of the episode's key."""

  def init(theta, key, tasks):
    return jnp.array([0.5, 1.0]) + 0.3 * jax.random.normal(key, (2,))

  def step(theta, state, number, key, tasks):
    state, loss = QUADRATIC.unroll.step(theta, state, number, key, tasks)
    return state + 0.1 * jax.random.normal(key, (2,)), loss

  return Unroll(init, step, QUADRATIC.unroll.evaluate)


def run(online, windows, horizon=6, theta=QUADRATIC.theta, state=None, first=0, seed=3):
  """Consecutive estimates: gradients [windows, P], the state and the last metrics."""
  theta, tasks = jnp.asarray(theta), TaskBatch((), {}, jnp.int32(horizon))
  estimate = jax.jit(online.estimate)
  state = online.init(theta, jax.random.key(0), tasks) if state is None else state
  grads = []
  for number in range(first, first + windows):
    key = jax.random.fold_in(jax.random.key(seed), number)
    grad, state, metrics = estimate(theta, state, key, tasks)
    grads.append(np.asarray(grad))
  return np.stack(grads), state, metrics


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_pes_is_truncated_es_where_the_window_is_the_episode():
  pes, truncated = (run(made(name, noisy(), window=6), 3)[0] for name in ('pes', 'truncated_es'))
  np.testing.assert_allclose(pes, truncated, rtol=1e-5)
  shorter = [run(made(name, noisy(), window=3), 3)[0] for name in ('pes', 'truncated_es')]
  assert not np.allclose(*shorter, rtol=0.1)


@pytest.mark.parametrize('window', [pytest.param(2, marks=pytest.mark.slow), 4, 6])
def test_nres_over_an_episode_is_full_es(window):
  """The mean over its windows (of 4 and 2 steps too) is the difference quotient."""
  theta, windows = jnp.asarray(QUADRATIC.theta), -(-6 // window)
  grads, state, _ = run(made('nres', window=window, particles=1, stagger=False), windows)
  noise = state.noise[0]

  def mean_loss(theta):
    states = QUADRATIC.unroll.init(theta, None, None)
    losses = []
    for number in range(6):
      states, loss = QUADRATIC.unroll.step(theta, states, number, None, None)
      losses.append(loss)
    return sum(losses) / 6

  difference = mean_loss(theta + noise) - mean_loss(theta - noise)
  expected = difference / (2 * 0.05**2) * noise
  np.testing.assert_allclose(grads.mean(axis=0), expected, rtol=2e-4)


def test_the_family_of_gpes():
  """A noise for each window, one for the episode, and something between."""
  mine = partial(made, unroll=noisy(), policy='roll')
  pes, nres = run(mine('pes'), 5)[0], run(mine('nres'), 5)[0]
  same = partial(np.testing.assert_allclose, rtol=1e-6)  # programs differ, and so do roundings
  same(run(mine('gpes', period=2), 5)[0], pes)
  for period in (6, 50):
    same(run(mine('gpes', period=period), 5)[0], nres)
  between = run(mine('gpes', period=4), 5)[0]
  assert not np.allclose(between, pes)
  assert not np.allclose(between, nres)


@pytest.mark.parametrize(
  ('name', 'policy'),
  [
    ('gpes', 'cut'),
    pytest.param('pes', 'roll', marks=pytest.mark.slow),
    ('truncated_es', 'cut'),
    ('reverse_mode', 'roll'),
  ],
)
def test_the_order_of_particles_does_not_matter(name, policy):
  online, order = made(name, noisy(), policy=policy), np.array([4, 0, 5, 3, 1, 2])
  _, state, _ = run(online, 2, horizon=7)
  shuffled = jax.tree.map(lambda x: x[order], state)
  grads, after, _ = run(online, 6, horizon=7, state=state, first=2)
  others, after_them, _ = run(online, 6, horizon=7, state=shuffled, first=2)
  np.testing.assert_allclose(grads, others, rtol=1e-5)
  assert_same(jax.tree.map(lambda x: x[order], after), after_them)


@pytest.mark.parametrize('name', EACH_CODE)
def test_a_resumed_state_gives_the_same_estimates_bit_for_bit(name):
  online = made(name, noisy(), policy='cut' if name == 'whole' else 'roll')
  grads, state, metrics = run(online, 7, horizon=5)
  _, early, _ = run(online, 3, horizon=5)
  saved = jax.tree.map(np.asarray, early)  # no leaf is a typed key or a Python number
  assert all(leaf.shape[0] == 6 for leaf in jax.tree.leaves(saved))
  rest, later, again = run(online, 4, horizon=5, state=jax.tree.map(jnp.asarray, saved), first=3)
  assert_same((grads[3:], state, metrics), (rest, later, again))


@pytest.mark.parametrize('name', EACH_CODE)
def test_another_horizon_or_theta_is_not_another_program(name):
  online = made(name, noisy(), objective='final' if name == 'whole' else 'mean')
  traces = []

  @jax.jit
  def estimate(theta, state, key, tasks):
    traces.append(name)
    return online.estimate(theta, state, key, tasks)

  tasks = TaskBatch((), {}, jnp.int32(6))
  state = online.init(jnp.zeros(2), jax.random.key(0), tasks)
  for number, horizon in enumerate((6, 4, 7, 3)):
    theta = jnp.asarray(QUADRATIC.theta) + number
    tasks = TaskBatch((), {}, jnp.int32(horizon))
    _, state, _ = estimate(theta, state, jax.random.key(number), tasks)
  assert len(traces) == 1


@pytest.mark.parametrize('name', ['gpes', pytest.param('whole', marks=pytest.mark.slow)])
def test_particles_on_many_devices_or_one_by_one_give_the_same(name):
  spread = meshes.sharded_map(meshes.make_mesh(population=4), vectorized)
  expected, state, metrics = run(made(name, noisy()), 3)
  for map_fn in (spread, sequential):
    spec = {'name': 'reverse_mode' if name == 'whole' else name, 'particles': 6, 'window': 2}
    more = {} if name in ('whole', 'reverse_mode') else {'pair_map': sequential}
    online = build(ONLINE, spec | SPECS[name] | more, unroll=noisy(), map_fn=map_fn)
    grads, other, measured = run(online, 3)
    for a, b in ((expected, grads), (state, other), (metrics, measured)):
      jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), a, b)


def test_a_pair_shares_start_and_keys():
  """Losses that are noise of the keys alone differ between particles and not within a pair."""

  def init(theta, key, tasks):
    return jax.random.normal(key, ())

  def step(theta, state, number, key, tasks):
    return state, state + jax.random.normal(key, ()) + 0.0 * theta[0]

  for name in ('gpes', 'truncated_es'):
    grads, state, metrics = run(made(name, Unroll(init, step)), 3)
    assert np.all(grads == 0.0)
    assert len(np.unique(state.runs[:, 0])) == 6
    assert abs(float(metrics['loss'])) > 1e-3


def test_a_key_is_used_once():
  """The state keeps what was drawn by the keys of the start and of each step of an episode."""

  def init(theta, key, tasks):
    return jnp.zeros(7).at[6].set(jax.random.uniform(key))

  def step(theta, state, number, key, tasks):
    return state.at[number].set(jax.random.uniform(key)), jnp.sum(theta)

  online = made('pes', Unroll(init, step), stagger=False)
  episodes = [run(online, windows)[1] for windows in (3, 6)]
  drawn = np.concatenate([state.runs[:, 0] for state in episodes])
  assert len(np.unique(drawn)) == drawn.size
  use = jax.random.uniform(key_of_noise(episodes[0]))
  assert not np.any(drawn == use)


def key_of_noise(state):
  first = jax.tree.map(lambda x: x[0], state.clock)
  return clock.key_of(first, clock.NOISE)


def test_noise_and_starts_are_new_with_each_particle_and_episode():
  _, first, _ = run(made('nres', noisy(), stagger=False), 1)
  _, same, _ = run(made('nres', noisy(), stagger=False), 3)
  _, later, _ = run(made('nres', noisy(), stagger=False), 4)
  assert_same(first.noise, same.noise)
  assert len(np.unique(np.concatenate([first.noise, later.noise])[:, 0])) == 12
  np.testing.assert_allclose(np.asarray(first.noise).std(), 0.05, rtol=0.6)
  _, other, _ = run(made('nres', noisy(), stagger=False), 1, seed=4)
  assert not np.any(first.noise == other.noise)


@pytest.mark.parametrize(('policy', 'lengths'), [('cut', {7, 4, 1}), ('roll', set(range(1, 8)))])
def test_first_episodes_end_at_all_borders_of_windows(policy, lengths):
  _, state, _ = run(made('pes', window=3, particles=200, policy=policy), 1, horizon=7)
  whole = state.clock.length[state.clock.episode == 1]
  assert set(whole.tolist()) == (lengths if policy == 'cut' else lengths - {1, 2})
  assert set(state.clock.horizon.tolist()) == {7}
  _, state, _ = run(made('pes', window=3, particles=200, policy=policy), 4, horizon=7)
  assert set(state.clock.length[state.clock.episode > 1].tolist()) == {7}


def test_a_new_horizon_holds_from_the_next_episode_on():
  online = made('pes', stagger=False)
  _, state, _ = run(online, 1, horizon=6)
  _, state, _ = run(online, 1, horizon=4, state=state)
  assert set(state.clock.length.tolist()) == {6}
  _, state, _ = run(online, 2, horizon=4, state=state)
  assert set(state.clock.length.tolist()) == {4}
  assert set(state.clock.step.tolist()) == {2}


@pytest.mark.parametrize(
  'name', [pytest.param('nres', marks=pytest.mark.slow), 'pes', 'truncated_es', 'reverse_mode']
)
def test_a_lost_particle_is_left_out_and_starts_anew(name):
  def init(theta, key, tasks):
    return jnp.where(jax.random.uniform(key) < 0.5, jnp.nan, 1.0)

  def step(theta, state, number, key, tasks):
    return state, state * theta[0] * (number + 1)

  grads, state, metrics = run(made(name, Unroll(init, step), particles=40, stagger=False), 1)
  lost = np.isnan(np.asarray(state.runs)[:, 0])
  runs = 1 if name == 'reverse_mode' else 2
  assert 5 < lost.sum() < 35
  assert int(metrics['nonfinite']) == runs * lost.sum()
  assert int(metrics['candidates']) == runs * 40
  np.testing.assert_allclose(metrics['loss'], 1.5 * 0.3, rtol=0.1)
  assert np.all(np.isfinite(grads))
  if name == 'reverse_mode':
    np.testing.assert_allclose(grads[0], [1.5, 0.0], rtol=1e-6)
  _, after, _ = run(made(name, Unroll(init, step), particles=40, stagger=False), 1, state=state)
  assert set(after.clock.step[lost].tolist()) == {2}
  assert set(after.clock.step[~lost].tolist()) == {4}


def test_without_a_finite_loss_there_is_no_gradient():
  nan = Unroll(lambda *_: jnp.float32(0), lambda theta, s, *_: (s, jnp.nan * theta[0]))
  for name in SPECS.keys() - OF_GPES:
    grads, _, metrics = run(made(name, nan), 2)
    assert np.all(grads == 0.0)
    assert int(metrics['nonfinite']) == int(metrics['candidates'])
    assert np.isnan(metrics['loss'])


def test_inner_steps_are_counted():
  counts = {name: int(run(made(name, stagger=False), 1)[2]['inner_steps']) for name in SPECS}
  pairs, triples, single, whole = 6 * 2 * 2, 6 * 3 * 2, 6 * 2, 6 * 6
  assert counts == {
    'gpes': pairs, 'nres': pairs, 'pes': pairs, 'truncated_es': triples,
    'reverse_mode': single, 'whole': whole,
  }  # fmt: skip


def test_a_start_that_theta_sets_counts():
  """J = mean_t (3 theta + t theta) = (3 + 3.5) theta."""

  def init(theta, key, tasks):
    return 3.0 * theta[0]

  def step(theta, state, number, key, tasks):
    return state + theta[0], state + theta[0]

  unroll = Unroll(init, step)
  np.testing.assert_allclose(run(made('whole', unroll), 1)[0][0, 0], 6.5, rtol=1e-6)
  # The next episode begins with the next window, not in what fills up this one's last segment.
  grads, _, _ = run(made('reverse_mode', unroll, window=3, policy='roll'), 3, horizon=3)
  np.testing.assert_allclose(grads[:, 0], 3.0 + 2.0, rtol=1e-6)
  grads, state, _ = run(made('nres', unroll, window=6, particles=1), 1)
  ratio = np.asarray(state.noise)[0] * np.asarray(state.noise)[0, 0] / 0.05**2
  np.testing.assert_allclose(grads[0], 6.5 * ratio, rtol=1e-4)


def test_the_truncated_gradient_is_not_the_gradient():
  exact, cut = gradient(QUADRATIC), truncated_gradient(QUADRATIC)
  assert np.all(np.abs(exact - cut) > 0.5 * np.abs(exact))


@pytest.mark.parametrize(
  ('name', 'arguments', 'says'),
  [
    ('pes', {'window': 0}, 'window must be at least 1, not 0'),
    ('pes', {'sigma': 0.0}, 'sigma must be above 0'),
    ('nres', {'particles': 0}, 'particles must be at least 1'),
    ('gpes', {'period': 0}, 'period must be at least 1'),
    ('pes', {'policy': 'mask'}, "no policy 'mask'.*cut, roll"),
    ('truncated_es', {'objective': 'last'}, "no meta-objective 'last'.*final, mean, window_end"),
    ('nres', {'objective': 'final', 'policy': 'roll'}, "'final' needs estimator.policy = 'cut'"),
    ('whole', {'max_steps': None}, 'max_steps must be the longest horizon'),
    ('whole', {'policy': 'roll'}, "policy must be 'cut'"),
  ],
)
def test_wrong_arguments_are_refused(name, arguments, says):
  with pytest.raises(InputError, match=says):
    made(name, **arguments)


def test_an_objective_on_evaluation_data_needs_some():
  bare = Unroll(QUADRATIC.unroll.init, QUADRATIC.unroll.step)
  with pytest.raises(InputError, match=r"set estimator\.objective = 'mean'"):
    run(made('pes', bare, objective='final'), 1)

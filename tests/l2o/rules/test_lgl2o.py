"""The guard holds: a poisoned learned side costs nothing, a sound one is used."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from tests.problems import CENTRE, CURVATURE, quadratic_loss

START = jnp.array([-1.0, 2.0, 0.5])
NOISE = 0.5  # standard deviation of a batch's slope
SEEDS, STEPS, COMPARISONS = 20, 200, 16


def noisy_loss(slope, params):
  return quadratic_loss(params['w']) + slope @ (params['w'] - CENTRE)


def final_losses(tx):
  """True losses after STEPS noisy steps from START: [SEEDS], and the last states."""

  def step(carry, key):
    params, state = carry
    slopes = NOISE * jax.random.normal(key, (1 + COMPARISONS, 3))
    value_and_grad_fn = jax.value_and_grad(functools.partial(noisy_loss, slopes[0]))
    value, grads = value_and_grad_fn(params)
    updates, state = tx.update(
      grads,
      state,
      params,
      value=value,
      value_fn=functools.partial(noisy_loss, jnp.mean(slopes[1:], axis=0)),
      value_and_grad_fn=value_and_grad_fn,
    )
    return (optax.apply_updates(params, updates), state), None

  @jax.jit
  @jax.vmap
  def run(key):
    params = {'w': START}
    (params, state), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, STEPS))
    return quadratic_loss(params['w']), state

  return run(jax.random.split(jax.random.key(5), SEEDS))


HARM = {
  'NaN at random': lambda g, lost: jnp.where(lost, jnp.nan, -0.05 * g),
  'infinite at random': lambda g, lost: jnp.where(lost, jnp.inf, -0.05 * g),
  'a huge step': lambda g, lost: jnp.full_like(g, 1e3),
  'the wrong sign': lambda g, lost: 0.1 * g,
}


def poisoned(harm):
  """A learned side that does harm, now and then or always."""

  def update(updates, count, params=None):
    lost = jax.random.bernoulli(jax.random.fold_in(jax.random.key(9), count), 0.3)
    return jax.tree.map(lambda g: HARM[harm](g, lost), updates), count + 1

  return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


@functools.cache
def fallback_alone():
  return final_losses(optax.with_extra_args_support(optax.sgd(0.1)))[0]


@pytest.mark.parametrize('period', [1, 5])
@pytest.mark.parametrize('harm', HARM)
def test_a_poisoned_side_ends_no_worse_than_the_fallback_alone(harm, period):
  losses, state = final_losses(l2o.lgl2o(optax.sgd(0.1), poisoned(harm), period))
  excess = np.asarray(losses - fallback_alone())  # the same batches, so paired
  assert excess.mean() <= 3 * excess.std() / SEEDS**0.5 + 1e-6
  compared = state.taken_hand_designed + state.taken_learned
  np.testing.assert_array_equal(compared, STEPS // period)
  if harm == 'a huge step':
    np.testing.assert_array_equal(state.taken_learned, 0)


@pytest.mark.parametrize('period', [1, 5])
def test_a_better_side_is_used(period):
  slow, fast = optax.sgd(1e-3), optax.sgd(0.1)
  losses, state = final_losses(l2o.lgl2o(slow, fast, period))
  assert np.all(losses < 0.1 * final_losses(optax.with_extra_args_support(slow))[0])
  assert np.all(state.taken_learned > 0.3 * STEPS / period)


def proposes(update):
  return optax.GradientTransformation(
    lambda params: (), lambda grads, state, params=None: ({'w': jnp.float32(update)}, state)
  )


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
  ('hand_designed', 'learned', 'taken'),
  [
    (1.0, 2.0, 'learned'),
    (2.0, 1.0, 'hand_designed'),
    (1.0, 1.0, 'hand_designed'),
    (NAN, -9.0, 'learned'),
    (-9.0, NAN, 'hand_designed'),
    (-9.0, INF, 'hand_designed'),  # its loss would be -inf, the lowest there is
    (50.0, 60.0, 'hand_designed'),  # both losses are lost; the parameters are not
    (50.0, NAN, 'hand_designed'),
    (50.0, -9.0, 'learned'),
    (NAN, 60.0, 'skipped'),
    (INF, NAN, 'skipped'),
  ],
)
def test_what_is_not_finite_is_worse_than_anything(hand_designed, learned, taken):
  def value_fn(params):  # descends without end; lost between 40 and 70
    return jnp.where((params['w'] > 40) & (params['w'] < 70), jnp.nan, -params['w'])

  tx = l2o.lgl2o(proposes(hand_designed), proposes(learned))
  params = {'w': jnp.float32(0.5)}
  updates, state = tx.update(params, tx.init(params), params, value=0.0, value_fn=value_fn)
  expected = {'hand_designed': hand_designed, 'learned': learned, 'skipped': 0.0}[taken]
  assert updates['w'] == expected
  counts = (state.taken_hand_designed, state.taken_learned, state.skipped)
  assert counts == tuple(name == taken for name in ('hand_designed', 'learned', 'skipped'))
  assert all(count.dtype == jnp.int32 for count in counts)


def test_a_parameter_that_the_loss_does_not_see_counts_too():
  def lost(grads, state, params=None):
    return {'w': jnp.float32(3.0), 'unseen': jnp.float32(jnp.nan)}, state

  params = {'w': jnp.float32(0.5), 'unseen': jnp.float32(1.0)}
  tx = l2o.lgl2o(optax.sgd(0.1), optax.GradientTransformation(lambda params: (), lost))
  updates, _ = tx.update(
    params, tx.init(params), params, value=0.0, value_fn=lambda params: -params['w']
  )
  assert np.isfinite(updates['unseen'])


def loss(params):
  return quadratic_loss(params['w'])


def follow(tx, steps):
  """Parameters after each of `steps` exact steps from START, and the last state."""

  @jax.jit
  def step(params, state):
    value_and_grad = jax.value_and_grad(loss)
    value, grads = value_and_grad(params)
    extra = {'value': value, 'value_fn': loss, 'value_and_grad_fn': value_and_grad}
    updates, state = tx.update(grads, state, params, **extra)
    return optax.apply_updates(params, updates), state

  params = {'w': START}
  state, path = tx.init(params), []
  for _ in range(steps):
    params, state = step(params, state)
    path.append(params['w'])
  return np.asarray(path), state


def test_a_period_is_two_trajectories_from_one_point():
  # Momentum overshoots: ahead at some comparisons, behind at others.
  hand_designed, learned, period = optax.sgd(0.02), optax.sgd(0.15, momentum=0.9), 3
  path, state = follow(l2o.lgl2o(hand_designed, learned, period), 24)
  point = [{'w': START}, {'w': START}]
  states = [hand_designed.init(point[0]), learned.init(point[1])]
  taken = []
  for step in range(24):
    for side, tx in enumerate((hand_designed, learned)):
      grads = {'w': CURVATURE @ (point[side]['w'] - CENTRE)}
      updates, states[side] = tx.update(grads, states[side])
      point[side] = optax.apply_updates(point[side], updates)
    if step % period == period - 1:
      taken.append(int(loss(point[1]) < loss(point[0])))
      point = [point[taken[-1]]] * 2
    np.testing.assert_allclose(path[step], point[0]['w'], rtol=1e-4, atol=1e-5)
  assert 0 < sum(taken) < len(taken)
  assert (state.taken_learned, state.taken_hand_designed) == (sum(taken), 8 - sum(taken))
  assert state.skipped == 0


def lost_at(steps, tx):
  """`tx`, whose proposal is NaN at some steps."""

  def update(grads, state, params=None):
    updates, inner = tx.update(grads, state[1], params)
    lost = jnp.isin(state[0], jnp.array(steps))
    return jax.tree.map(lambda u: jnp.where(lost, jnp.nan, u), updates), (state[0] + 1, inner)

  return optax.GradientTransformation(lambda p: (jnp.zeros((), jnp.int32), tx.init(p)), update)


def test_a_lost_trajectory_does_not_spoil_the_learned_state():
  tx = l2o.lgl2o(optax.sgd(1e-3), lost_at([0], optax.adam(0.1)), period=3)
  path, state = follow(tx, 9)
  assert np.all(np.isfinite(path))
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.learned))
  assert (state.taken_hand_designed, state.taken_learned) == (1, 2)


def test_a_lost_step_between_comparisons_is_skipped():
  tx = l2o.lgl2o(lost_at([1], optax.sgd(0.1)), optax.sgd(1e-3), period=3)
  path, state = follow(tx, 3)
  np.testing.assert_array_equal(path[1], path[0])
  assert np.all(path[2] != path[1])
  assert (state.skipped, state.taken_hand_designed) == (1, 1)


def bound_l3rs():
  rule = l2o.rule('l3rs')
  return rule.bind(rule.init(jax.random.key(0), {'w': START}), 50)


@pytest.mark.parametrize('period', [1, 2])
def test_a_hub_goes_on_either_side(period):
  for sides in (
    (l2o.hub(bound_l3rs(), optax.adamw(0.1)), optax.sgd(0.01)),
    (optax.sgd(0.01), l2o.hub(optax.adamw(0.1), bound_l3rs())),
  ):
    path, state = follow(l2o.lgl2o(*sides, period), 50)
    assert quadratic_loss(path[-1]) < 0.5 * quadratic_loss(START)
    assert state.step == 50


def test_every_keyword_reaches_both_sides():
  seen = []

  def update(grads, state, params=None, **extra):
    seen.append(extra)
    return grads, state

  side = optax.GradientTransformationExtraArgs(lambda params: (), update)
  params = {'w': START}
  extra = {'value': 0.7, 'value_fn': loss, 'value_and_grad_fn': jax.value_and_grad(loss)}
  for period in (1, 2):
    tx = l2o.lgl2o(side, side, period)
    tx.update(params, tx.init(params), params, **extra, epoch=3)
  assert [sorted(s) for s in seen] == [['epoch', 'value', 'value_and_grad_fn', 'value_fn']] * 4
  assert seen[3]['value'] == loss(params)  # the shadow's own


def test_what_a_user_can_mend():
  with pytest.raises(l2o.InputError, match='period must be at least 1, not 0'):
    l2o.lgl2o(optax.sgd(0.1), optax.sgd(0.1), period=0)
  tx, params = l2o.lgl2o(optax.sgd(0.1), optax.sgd(0.1), period=2), {'w': START}
  with pytest.raises(l2o.InputError, match='period 2 needs value_and_grad_fn'):
    tx.update(params, tx.init(params), params, value=1.0, value_fn=loss)
  with pytest.raises(ValueError, match='needs the parameters'):
    tx.update(params, tx.init(params), value=1.0, value_fn=loss)

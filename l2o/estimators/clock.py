"""Where an inner problem is in its episode, when it restarts, and how windows are weighted.

Every draw is a function of (key, particle, episode, step): the key is that of the estimate in
which the episode begins, and nothing else of that estimate is kept.

Where windows of W steps do not divide the horizon T, there are two policies. With either, the mean
over an episode's windows is the gradient of the mean loss J = 1 / T sum_t L_t:

- 'cut': the last window ends with the episode, and its remaining steps are idle. A window counts
  as the sum of its losses times ceil(T / W) / T.
- 'roll': the next episode begins within the window. A window counts as the sum of its losses / W.

They are the same where W divides T.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

POLICIES = ('cut', 'roll')
START, NOISE, STEPS, PHASE = range(4)  # the uses of an episode's key


class Clock(NamedTuple):
  """A particle's place in its episode."""

  number: jax.Array  # [] int32, the particle's
  episode: jax.Array  # [] int32, episodes begun
  step: jax.Array  # [] int32, inner steps done in this one
  length: jax.Array  # [] int32, inner steps after which it ends
  horizon: jax.Array  # [] int32, T: its length, unless it is a particle's first and cut short
  key: jax.Array  # [2] uint32, the episode's


def before_the_first(number: jax.Array) -> Clock:
  """The clock of a particle that has no episode yet."""
  zero = jnp.zeros((), jnp.int32)
  key = jnp.zeros_like(jax.random.key_data(jax.random.key(0)))
  return Clock(number, zero, zero, zero, zero, key)


def key_of(clock: Clock, use: int) -> jax.Array:
  """The episode's key [] for one of its uses."""
  return jax.random.fold_in(jax.random.wrap_key_data(clock.key), use)


def is_over(clock: Clock) -> jax.Array:
  """Whether the episode has ended, [] bool; its losses count up to and including its last step."""
  return clock.step >= clock.length


def begin(
  clock: Clock, key: jax.Array, horizon: jax.Array, window: int, policy: str, stagger: bool
) -> Clock:
  """The clock of the next episode.

  Args:
    clock: the clock of an episode that has ended.
    key: [], the estimate's.
    horizon: [] T.
    window: W.
    policy: 'cut' or 'roll'.
    stagger: whether a particle's first episode ends early, at one of the window borders, so that
      from then on the windows of many particles are spread evenly over the episode.
  """
  key = jax.random.fold_in(jax.random.fold_in(key, clock.number), clock.episode)
  horizon = jnp.asarray(horizon, jnp.int32)
  begun = clock._replace(
    episode=clock.episode + 1,
    step=jnp.zeros((), jnp.int32),
    length=horizon,
    horizon=horizon,
    key=jax.random.key_data(key),
  )
  if not stagger:
    return begun
  # The borders of rolled windows run through all multiples of W modulo T.
  borders = horizon if policy == 'roll' else _windows(horizon, window)
  drawn = jax.random.randint(key_of(begun, PHASE), (), 0, borders)
  phase = (drawn * window) % horizon
  return begun._replace(length=jnp.where(clock.episode == 0, horizon - phase, horizon))


def weight(clock: Clock, window: int, policy: str) -> jax.Array:
  """What the sum of a window's losses is multiplied by, so that windows average to J.

  This holds for episodes of one horizon: where horizons differ, longer ones have more windows.
  """
  if policy == 'roll':
    return jnp.asarray(1.0 / window, jnp.float32)
  return weight_of_the_last(clock, window) / clock.horizon


def weight_of_the_last(clock: Clock, window: int) -> jax.Array:
  """The weight of a loss that only an episode's last cut window has: ceil(T / W)."""
  return _windows(clock.horizon, window).astype(jnp.float32)


def _windows(horizon: jax.Array, window: int) -> jax.Array:
  return -(-horizon // window)
